// Says for each URL of a JSON list on standard input what a browser makes of it (npm `whatwg-url` follows the URL
// standard, as browsers do): its origin, and its path, query and fragment; null where it is no URL.
import { readFileSync } from 'node:fs';
import { URL } from 'whatwg-url';

const said = JSON.parse(readFileSync(0, 'utf8')).map((text) => {
  try {
    const url = new URL(text);
    return [url.origin, url.pathname + url.search + url.hash];
  } catch {
    return null;
  }
});
process.stdout.write(JSON.stringify(said));
