"""An online school: Course Catalog, Content Delivery and Progress Tracking behind one origin."""
