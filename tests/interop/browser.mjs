// The person at the browser, as far as OAuth needs one: cookies, redirects and plain HTML forms.

const attribute = (tag, name) =>
  tag.match(new RegExp(`\\s${name}\\s*=\\s*(?:"([^"]*)"|'([^']*)')`, 'i'))?.slice(1).find((v) => v !== undefined)
    ?.replace(/&#x([0-9a-f]+);/gi, (_, hex) => String.fromCodePoint(Number.parseInt(hex, 16)))
    .replace(/&#(\d+);/g, (_, code) => String.fromCodePoint(Number(code)))
    .replace(/&quot;/g, '"').replace(/&lt;/g, '<').replace(/&gt;/g, '>').replace(/&amp;/g, '&');

/** Walks from an authorization URL to the client's redirect URI and remembers the way. */
export class Browser {
  #cookies = new Map();
  /** Every page and redirect met, as `METHOD origin+path → status`. */
  visited = [];

  /**
   * Follows redirects and answers forms (consent by `decision`, login by `login`) until the
   * browser is sent to `redirectUri`; resolves with that URL.
   */
  async walk(start, redirectUri, { decision = 'approve', login = 'alice' } = {}) {
    let request = { url: new URL(start) };
    for (let step = 0; step < 30; step += 1) {
      if (`${request.url.origin}${request.url.pathname}` === redirectUri) return request.url;
      const response = await this.#send(request);
      const location = response.headers.get('location');
      if (location !== null) {
        request = { url: new URL(location, request.url) };
        continue;
      }
      const page = await response.text();
      const form = page.match(/<form\b[^>]*>[\s\S]*?<\/form>/i)?.[0];
      if (!response.ok || form === undefined) {
        throw new Error(`stopped at ${response.status} ${request.url}: ${page.slice(0, 2000)}`);
      }
      // Browsers name no origin when they post from a page with this policy.
      const origin = response.headers.get('referrer-policy') === 'no-referrer' ? 'null' : request.url.origin;
      request = { ...this.#answer(form, request.url, { decision, login }), origin };
    }
    throw new Error(`no end to the redirects: ${this.visited.join(', ')}`);
  }

  #answer(form, pageUrl, { decision, login }) {
    const fields = new URLSearchParams();
    for (const [input] of form.matchAll(/<input\b[^>]*>/gi)) {
      const name = attribute(input, 'name');
      if (name === 'login') fields.append(name, login);
      else if (name === 'password') fields.append(name, 'correct horse battery staple');
      else if (name !== undefined) fields.append(name, attribute(input, 'value') ?? '');
    }
    const buttons = [...form.matchAll(/<button\b[^>]*>/gi)].map(([button]) => button);
    if (buttons.some((button) => attribute(button, 'name') === 'decision')) fields.append('decision', decision);
    return { url: new URL(attribute(form, 'action') ?? '', pageUrl), body: fields };
  }

  async #send({ url, body, origin }) {
    const sent = [...this.#cookies.values()]
      .filter(({ host, path }) => host === url.hostname && url.pathname.startsWith(path))
      .map(({ name, value }) => `${name}=${value}`);
    const response = await fetch(url, {
      method: body === undefined ? 'GET' : 'POST',
      body,
      redirect: 'manual',
      headers: {
        accept: 'text/html',
        ...(origin !== undefined && { origin, 'sec-fetch-site': 'same-origin' }),
        ...(sent.length > 0 && { cookie: sent.join('; ') }),
      },
    });
    for (const line of response.headers.getSetCookie()) this.#keep(line, url);
    this.visited.push(`${body === undefined ? 'GET' : 'POST'} ${url.origin}${url.pathname} → ${response.status}`);
    return response;
  }

  #keep(line, url) {
    const [pair, ...attributes] = line.split(';').map((part) => part.trim());
    const [, name, value] = pair.match(/^([^=]*)=(.*)$/);
    const path = attributes.find((a) => /^path=/i.test(a))?.slice(5) ?? '/';
    const gone = attributes.some((a) => /^max-age=0$/i.test(a) || (/^expires=/i.test(a) && Date.parse(a.slice(8)) < Date.now()));
    const key = `${url.hostname} ${path} ${name}`;
    if (gone) this.#cookies.delete(key);
    else this.#cookies.set(key, { host: url.hostname, path, name, value });
  }
}
