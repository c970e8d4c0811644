// AWS's own signer for JavaScript, asked for many passes at once.
//
// Standard input: a JSON list of what `getSignedUrl` and `getSignedCookies` take. Standard output: for each of them
// {"url": the signed URL, "cookies": the signed cookies}.
import { readFileSync } from 'node:fs';
import { getSignedCookies, getSignedUrl } from '@aws-sdk/cloudfront-signer';

const jobs = JSON.parse(readFileSync(0, 'utf8'));
const signed = jobs.map((job) => ({ url: getSignedUrl(job), cookies: getSignedCookies(job) }));
process.stdout.write(JSON.stringify(signed));
