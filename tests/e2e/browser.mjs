// Chromium or Firefox for the tests, driven over standard input and output: a JSON line in, a JSON line out.
//
// Arguments: `chrome` or `firefox`, path of the program, and settings of Firefox as JSON.
// In: {"id", "do", "arguments"}, where `do` is one of the functions below; out: {"id", "value"} or {"id", "error"}.
import { createInterface } from 'node:readline';
import puppeteer from 'puppeteer-core';

const [browserName, executablePath, preferences = '{}'] = process.argv.slice(2);
const PATIENCE = 40_000;
const CHROMIUM = ['--no-sandbox', '--disable-gpu', '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost'];

const browser = await puppeteer.launch({
  browser: browserName,
  executablePath,
  headless: browserName === 'chrome' ? 'shell' : true,
  acceptInsecureCerts: true,
  args: browserName === 'chrome' ? CHROMIUM : [],
  extraPrefsFirefox: JSON.parse(preferences),
});
const profiles = new Map();
const tabs = new Map();
let made = 0;

function keep(where, thing) {
  where.set(++made, thing);
  return made;
}

const find = (place, selector) => place.waitForSelector(selector, { timeout: PATIENCE });
const frame = async tab => (await find(tabs.get(tab), 'iframe')).contentFrame();

const functions = {
  newProfile: async () => keep(profiles, await browser.createBrowserContext()),
  closeProfile: async profile => {
    await profiles.get(profile).close();
    profiles.delete(profile);
  },
  cookies: async profile => {
    const found = await profiles.get(profile).cookies();
    return Object.fromEntries(found.map(cookie => [cookie.name, cookie.value]));
  },
  forgetCookie: async (profile, name) => {
    const context = profiles.get(profile);
    const found = (await context.cookies()).filter(cookie => cookie.name === name);
    if (found.length) await context.deleteCookie(...found);
  },
  newTab: async profile => keep(tabs, await profiles.get(profile).newPage()),
  refuseCookies: async (tab, beginning) => {
    const session = await tabs.get(tab).createCDPSession();
    session.on('Fetch.requestPaused', async ({ requestId, request }) => {
      const { cookies } = await session.send('Network.getCookies', { urls: [request.url] });
      const refused = cookies.filter(({ name }) => name.startsWith(beginning));
      for (const { name } of refused) await session.send('Network.deleteCookies', { name, url: request.url });
      await session.send('Fetch.continueRequest', { requestId });
    });
    await session.send('Fetch.enable', { patterns: [{ requestStage: 'Request' }] });
  },
  noScript: tab => tabs.get(tab).setJavaScriptEnabled(false),
  closeTab: async tab => {
    await tabs.get(tab).close();
    tabs.delete(tab);
  },
  goto: async (tab, url) => {
    await tabs.get(tab).goto(url, { timeout: PATIENCE });
  },
  url: tab => tabs.get(tab).evaluate('location.href').catch(() => tabs.get(tab).url()), // what is known lags in Firefox
  script: (tab, source) => tabs.get(tab).evaluate(source),
  fill: async (tab, selector, text) => (await find(tabs.get(tab), selector)).type(text),
  click: async (tab, selector) => (await find(tabs.get(tab), selector)).click(),
  clickInFrame: async (tab, selector) => (await find(await frame(tab), selector)).click(),
  textInFrame: async tab => (await frame(tab)).evaluate('document.body.innerText'),
};

async function answer(line) {
  const { id, do: name, arguments: given } = JSON.parse(line);
  let said;
  try {
    said = { id, value: (await functions[name](...given)) ?? null };
  } catch (error) {
    said = { id, error: String(error) };
  }
  process.stdout.write(`${JSON.stringify(said)}\n`);
}

const lines = createInterface({ input: process.stdin });
lines.on('line', answer);
lines.on('close', async () => {
  await browser.close();
  process.exit(0);
});
process.stdout.write(`${JSON.stringify({ id: 0, value: await browser.version() })}\n`);
