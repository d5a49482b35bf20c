/** A running `picloud` on a port and data of its own, and short ways to publish on it. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { idAt } from '../../src/lib/ids';

export const OWNER = { username: 'ada', password: 'a cloud of one’s own' };

const TARGET = process.env.CARGO_TARGET_DIR ?? '/var/tmp/picloud-target';
const BINARY = process.env.PICLOUD_BINARY ?? join(TARGET, 'debug/picloud');
const PATIENCE_MS = 60_000;

export interface User {
  id: string;
  username: string;
  password: string;
}

/** Calls of the admin API in one session, each of which must succeed. */
export class Api {
  private documentAt = Date.now();

  constructor(
    private readonly origin: string,
    private readonly token: string,
  ) {}

  async call<T = { id: string }>(method: string, path: string, body?: unknown): Promise<T> {
    const response = await fetch(`${this.origin}/api/v1/admin/${path}`, {
      method,
      headers: { authorization: `Bearer ${this.token}`, 'content-type': 'application/json' },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
    return (text === '' ? undefined : JSON.parse(text)) as T;
  }

  /** Makes an app that claims `slug.localhost`; gives its id. */
  async app(slug: string, name = slug): Promise<string> {
    const { id } = await this.call('POST', 'apps', { slug, name });
    await this.call('POST', `apps/${slug}/domains`, { pattern: `${slug}.localhost` });
    return id;
  }

  async script(app: string, name: string, source: string, kind = 'endpoint'): Promise<string> {
    return (await this.call('POST', 'scripts', { app_id: app, name, kind, source })).id;
  }

  async route(
    script: string,
    path: string,
    method = 'GET',
    path_kind = 'exact',
    isAsync = false,
  ): Promise<string> {
    const route = { host_kind: 'any', path_kind, path, method, async: isAsync };
    return (await this.call('POST', `scripts/${script}/routes`, route)).id;
  }

  /** Keeps a value by kv, for ever or so many seconds. */
  async keep(app: string, collection: string, key: string, value: unknown, ttl?: number): Promise<void> {
    await this.call('PUT', `apps/${app}/kv/${collection}/${encodeURIComponent(key)}`, { value, ttl });
  }

  /** Keeps a document by docs, each a millisecond newer than the one before; gives its id. */
  async keepDocument(app: string, collection: string, document: object): Promise<string> {
    const id = idAt((this.documentAt += 1));
    await this.call('PUT', `apps/${app}/docs/${collection}/${id}`, { document });
    return id;
  }

  /** Has a script handle the messages of a queue; gives the trigger's id. One attempt, unless something else is said. */
  async queueTrigger(app: string, script: string, queue: string, more: object = {}): Promise<string> {
    const body = { script_id: script, source: 'queue', config: { queue }, max_attempts: 1, ...more };
    return (await this.call('POST', `apps/${app}/triggers`, body)).id;
  }

  /** Sends a message to a queue; gives the event's id. */
  async send(app: string, queue: string, payload: unknown, delay?: number): Promise<string> {
    type Made = { event_id: string };
    return (await this.call<Made>('POST', `apps/${app}/queues/${queue}`, { payload, delay })).event_id;
  }

  async deadLetters(app: string): Promise<number> {
    return (await this.call<{ count: number }>('GET', `apps/${app}/dead-letters:count`)).count;
  }

  async setting(app: string, name: string, value: string): Promise<void> {
    await this.call('PUT', `apps/${app}/env/${name}`, { value });
  }

  /** What all settings of an app are. */
  async settings(app: string): Promise<Record<string, string>> {
    type List = { items: { name: string; value: string }[] };
    const { items } = await this.call<List>('GET', `apps/${app}/env?limit=200`);
    return Object.fromEntries(items.map(({ name, value }) => [name, value]));
  }

  async user(username: string, instance_role = 'member'): Promise<User> {
    const password = `the words of ${username}`;
    const { id } = await this.call('POST', 'admins', { username, instance_role, password });
    return { id, username, password };
  }
}

export class Cloud {
  private process: ChildProcess | null = null;
  private announced = new Map<string, string>();

  private constructor(
    private readonly home: string,
    private readonly environment: Record<string, string>,
    private readonly http: string,
  ) {}

  /** Starts one that has an owner; or, with `owner` false, one whose first owner is still to be made. */
  static async start({
    owner = true,
    environment = {} as Record<string, string>,
    http = '127.0.0.1:0',
  } = {}): Promise<Cloud> {
    const home = await mkdtemp(join(tmpdir(), 'picloud-dashboard-'));
    const first = { PICLOUD_ADMIN_USERNAME: OWNER.username, PICLOUD_ADMIN_PASSWORD: OWNER.password };
    const cloud = new Cloud(home, { ...(owner ? first : {}), ...environment }, http);
    await cloud.run();
    return cloud;
  }

  /** Starts it again on its data, where it listened before. */
  async restart(): Promise<void> {
    await this.run(new URL(this.origin).host);
  }

  private async run(http = this.http): Promise<void> {
    const child = spawn(BINARY, ['serve', '--dev', '--http', http], {
      env: { PICLOUD_DATA_DIR: join(this.home, 'data'), ...this.environment },
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    this.process = child;
    const lines = createInterface({ input: child.stdout });
    await new Promise<void>((resolve, reject) => {
      const tooLate = setTimeout(() => reject(new Error(`${BINARY} announced nothing`)), PATIENCE_MS);
      child.once('error', reject);
      child.once('exit', (code) => reject(new Error(`${BINARY} ended with ${code}`)));
      // Read to the end, so that the process never writes in vain.
      lines.on('line', (line) => {
        const [, word, rest] = /^(Dashboard|First of all|Sign in): *(.*)$/.exec(line) ?? [];
        if (word === undefined || rest === undefined) return;
        this.announced.set(word, rest);
        if (word === 'Dashboard') return;
        clearTimeout(tooLate);
        resolve();
      });
    });
  }

  /** Where it is reached, without a slash at the end. */
  get origin(): string {
    return new URL(this.announced.get('Dashboard') ?? '').origin;
  }

  get port(): string {
    return new URL(this.origin).port;
  }

  /** The link that makes the first owner. */
  get setupLink(): string {
    return this.announced.get('First of all') ?? '';
  }

  /** Signs a user in, without a browser. */
  async signIn({ username, password }: { username: string; password: string } = OWNER): Promise<Api> {
    const response = await fetch(`${this.origin}/api/v1/admin/auth/login`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ username, password }),
    });
    if (!response.ok) throw new Error(`login as ${username}: ${response.status} ${await response.text()}`);
    return new Api(this.origin, ((await response.json()) as { token: string }).token);
  }

  /** GET on the data plane: what a visitor of an app gets. */
  visit(host: string, path: string): Promise<{ status: number; body: string }> {
    return new Promise((resolve, reject) => {
      const sent = request(
        { port: this.port, host: new URL(this.origin).hostname, path, headers: { host } },
        async (answer) => {
          let body = '';
          for await (const part of answer) body += String(part);
          resolve({ status: answer.statusCode ?? 0, body });
        },
      );
      sent.once('error', reject).end();
    });
  }

  async kill(): Promise<void> {
    const child = this.process;
    this.process = null;
    if (child === null || child.exitCode !== null) return;
    const gone = new Promise((resolve) => child.once('close', resolve));
    child.kill('SIGKILL');
    await gone;
  }

  /** Ends it and takes its data away. */
  async end(): Promise<void> {
    await this.kill();
    await rm(this.home, { recursive: true, force: true });
  }
}
