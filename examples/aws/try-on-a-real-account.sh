#!/usr/bin/env bash
# Sets this example up in a real AWS account, attacks it with stagedoor doctor, and takes it away again.
#
#   ./try-on-a-real-account.sh
#
# It asks before anything is made and before anything is deleted. It needs the AWS CLI with credentials, the CDK's
# CLI, Node.js 22, and stagedoor[cdk] in the Python that runs (see README.md). It works in a folder of its own, which
# stays: the outputs, the doctor's report, the answer of /-/whoami and the list of what is left over are in it.
set -euo pipefail

region=us-east-1
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)

say() { printf '%s\n' "$*" >&2; }
fail() { say "error: $*"; exit 1; }
confirm() {
  local answer=""
  printf '%s\ntype %s to go on: ' "$1" "$2" >&2
  read -r answer || true
  [ "$answer" = "$2" ]
}
output() { python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))[sys.argv[2]][sys.argv[3]])' "$@"; }

# --- may it begin?

for program in aws cdk curl node python3 stagedoor; do
  command -v "$program" >/dev/null || fail "there is no $program here; README.md says how to get it"
done
account=$(aws sts get-caller-identity --query Account --output text) || fail "the AWS CLI has no credentials"
for stack in Pool Site; do
  if aws cloudformation describe-stacks --region "$region" --stack-name "$stack" >/dev/null 2>&1; then
    fail "account $account has a stack $stack already: take it away, or use another account"
  fi
done
aws cloudformation describe-stacks --region "$region" --stack-name CDKToolkit >/dev/null 2>&1 ||
  fail "the CDK was never used in this account: cdk bootstrap aws://$account/$region"

say "This makes in account $account, $region: a user pool with two users, buckets, a CloudFront distribution with a firewall,"
say "four Lambda functions, two HTTP APIs, a table, secrets, logs and alarms. Firewall, secrets and alarms cost by the"
say "month, in parts of it: some dollars if they stayed, some cents for an hour."
confirm "Deploy it?" "$account" || fail "nothing was made"

# --- deploy

work=$(mktemp -d "${TMPDIR:-/tmp}/stagedoor-on-aws.XXXXXX")
cp -R "$here/app.py" "$here/cdk.json" "$here/stagedoor.toml" "$here/content" "$work/"
cd "$work"
say "working in $work"
trap 'say "everything about this run is in $work; what was deployed stays until: cd $work && cdk destroy Site Pool"' EXIT

cdk deploy Pool --require-approval never --outputs-file pool.json
pool=$(output pool.json Pool UserPoolId)
client=$(output pool.json Pool UserPoolClientId)
sed -e "s/us-east-1_Example/$pool/" -e "s/example-client-id/$client/" "$here/stagedoor.toml" >stagedoor.toml
stagedoor check --settings stagedoor.toml

cdk deploy Site --require-approval never --outputs-file site.json
bucket=$(output site.json Site BucketName)
site=$(output site.json Site SiteUrl)

# --- two people, and a picture that only one of them may see

umask 077
person() { # name, file for the token; prints the sub
  local password
  password="Aa1-$(python3 -c 'import secrets; print(secrets.token_hex(16))')"
  aws cognito-idp admin-create-user --region "$region" --user-pool-id "$pool" --username "$1" \
    --message-action SUPPRESS >/dev/null
  aws cognito-idp admin-set-user-password --region "$region" --user-pool-id "$pool" --username "$1" \
    --password "$password" --permanent
  aws cognito-idp admin-initiate-auth --region "$region" --user-pool-id "$pool" --client-id "$client" \
    --auth-flow ADMIN_USER_PASSWORD_AUTH --auth-parameters "USERNAME=$1,PASSWORD=$password" \
    --query AuthenticationResult.IdToken --output text >"$2"
  aws cognito-idp admin-get-user --region "$region" --user-pool-id "$pool" --username "$1" \
    --query "UserAttributes[?Name=='sub'].Value" --output text
}
ann=$(person ann@example.com ann.token)
person ben@example.com ben.token >/dev/null
aws s3 sync --only-show-errors content "s3://$bucket"
aws s3 cp --only-show-errors content/pictures/shore.png "s3://$bucket/users/$ann/shore.png"

# --- attack it

doctor=0
stagedoor doctor "$site" --path "/users/$ann/shore.png" --public /public/hello.txt \
  --token ann.token --other-token ben.token --settings stagedoor.toml \
  --bucket-url "https://$bucket.s3.$region.amazonaws.com" | tee doctor.txt || doctor=$?
# API Gateway is known to rename WWW-Authenticate in some answers; what it does here nobody has seen yet
curl -sS -D whoami.txt -o whoami.json "$site/-/whoami" || say "/-/whoami did not answer"
say "to /-/whoami without a token it answered (WWW-Authenticate: should be there, under this name):"
cat whoami.txt >&2
say "the doctor ended with $doctor (0: all good, 1: something was found); its report is doctor.txt"

# --- away again

for stack in Site Pool; do
  aws cloudformation describe-stack-resources --region "$region" --stack-name "$stack" --output text \
    --query "StackResources[?contains(['AWS::S3::Bucket','AWS::DynamoDB::GlobalTable','AWS::Cognito::UserPool','AWS::Lambda::Version'], ResourceType)].[ResourceType, PhysicalResourceId]"
done >left-over.txt
confirm "Delete both stacks?" delete || fail "both stacks stay, and cost: $site"
trap 'say "everything about this run is in $work"' EXIT
rm -f ann.token ben.token
cdk destroy Site --force || say "the edge keeps copies of functions for hours: cd $work && cdk destroy Site, tomorrow"
cdk destroy Pool --force
say "kept on purpose, so that nothing is lost by it; delete what you do not want (all but the bucket of the error page):"
cat left-over.txt >&2
exit "$doctor"
