"""The policy: who may read what. Rules are read, compiled into a tree, and asked."""
