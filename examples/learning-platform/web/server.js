// What the page asks for, and how people sign in (OAuth 2.0 authorization code with PKCE, RFC 7636).

const KEPT = "sign-in", NAME = "name";

/** An answer that is no success: `status`, and `message` in the server's words. */
export class Refused extends Error {
  constructor(status, problem) {
    super(problem.detail ?? "The server did not say why.");
    this.status = status;
  }
}

/** Ask, with the session cookie that the browser keeps; no script ever sees it. */
export async function ask(url, options = {}) {
  const answer = await fetch(url, options);
  const json = answer.headers.get("content-type")?.includes("json");
  if (!answer.ok) throw new Refused(answer.status, json ? await answer.json() : {});
  return json ? answer.json() : answer.text();
}

export const send = (method, url, body, more = {}) => ask(url, { method, body, ...more });

/** All objects below a prefix that this visitor may read: Stagedoor leaves out the others. */
export async function list(prefix) {
  const found = [];
  for (let cursor = ""; cursor !== undefined;) {
    const page = await ask(`/-/s3objects?${new URLSearchParams({ prefix, cursor })}`);
    found.push(...page.Contents);
    cursor = page.NextCursor;
  }
  return found;
}

export const urlOf = (key) => "/" + key.split("/").map(encodeURIComponent).join("/");

// --- signing in

const base64url = (bytes) => btoa(String.fromCharCode(...new Uint8Array(bytes)))
  .replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
const random = () => base64url(crypto.getRandomValues(new Uint8Array(32)));

/** Go to the provider; `back` is the address to be at afterwards. */
export async function signIn(back) {
  const { site, client, authorize } = await ask("/api/sign-in");
  if (location.origin !== site) return location.replace(site + location.pathname + location.search + location.hash);  // localhost is not 127.0.0.1 to a browser
  const verifier = random(), state = random(), nonce = random();
  sessionStorage.setItem(KEPT, JSON.stringify({ verifier, state, nonce, back }));
  const challenge = base64url(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(verifier)));
  location.assign(`${authorize}?${new URLSearchParams({
    response_type: "code", client_id: client, redirect_uri: `${site}/`, scope: "openid email profile",
    state, nonce, code_challenge: challenge, code_challenge_method: "S256",
  })}`);
}

/** Back from the provider: code -> id token -> session cookie. Says where to go. */
export async function finishSignIn(answer) {
  const { verifier, state, nonce, back } = JSON.parse(sessionStorage.getItem(KEPT) ?? "{}");
  sessionStorage.removeItem(KEPT);
  if (!state || answer.get("state") !== state) throw new Error("That sign-in did not begin here. Please sign in again.");
  if (answer.has("error")) throw new Error(`You were not signed in: ${answer.get("error")}.`);
  const { site, client, token } = await ask("/api/sign-in");
  const { id_token } = await send("POST", token, new URLSearchParams({
    grant_type: "authorization_code", client_id: client, redirect_uri: `${site}/`, code: answer.get("code"),
    code_verifier: verifier,
  }));
  const payload = atob(id_token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/"));
  const claims = JSON.parse(new TextDecoder().decode(Uint8Array.from(payload, (byte) => byte.charCodeAt(0))));
  if (claims.nonce !== nonce) throw new Error("That was the answer to another sign-in. Please sign in again.");
  await send("POST", "/-/session", null, { headers: { authorization: `Bearer ${id_token}` } });
  localStorage.setItem(NAME, JSON.stringify([claims.sub, claims.name ?? claims.sub]));
  return back;
}

/** Who is signed in: { sub, name, groups }, or null. */
export async function whoAmI() {
  try {
    const me = await ask("/-/whoami");
    if (!me.signedIn) return null;
    const [sub, name] = JSON.parse(localStorage.getItem(NAME) ?? "[]");
    return { ...me, name: sub === me.sub ? name : me.sub };
  } catch (error) {
    if (error.status === 401) return null;  // an old session; the answer took it away
    throw error;
  }
}

export async function signOut() {
  localStorage.removeItem(NAME);
  await send("DELETE", "/api/session");
}
