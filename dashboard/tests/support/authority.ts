/** A certificate authority and its DNS (Debian's package pebble), and certificates of one's own making. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** The ports of each address of its own: Pebble's, its DNS's, and where it looks for answers. */
const PORTS = { acme: 14000, management: 15000, dns: 8053, dnsManagement: 8055, http: 5002, https: 5001 };

/** A chain and a key in PEM for some hosts, signed by itself. */
export function selfSigned(...names: string[]): { chain: string; key: string } {
  const home = mkdtempSync(join(tmpdir(), 'picloud-pem-'));
  const files = { chain: join(home, 'chain.pem'), key: join(home, 'key.pem') };
  const subject = ['-subj', `/CN=${names[0]}`, '-addext', `subjectAltName=${names.join(',')}`];
  const kind = [
    '-x509',
    '-addext',
    'basicConstraints=critical,CA:FALSE',
    '-newkey',
    'ec',
    '-pkeyopt',
    'ec_paramgen_curve:P-256',
    '-nodes',
    '-days',
    '30',
  ];
  execFileSync('openssl', ['req', ...kind, ...subject, '-out', files.chain, '-keyout', files.key], {
    stdio: 'ignore',
  });
  const made = { chain: readFileSync(files.chain, 'utf8'), key: readFileSync(files.key, 'utf8') };
  rmSync(home, { recursive: true });
  return made;
}

export class Authority {
  private readonly home = mkdtempSync(join(tmpdir(), 'picloud-authority-'));
  /** Of the whole network 127.0.0.0/8, so that tests do not meet. */
  private readonly ip = `127.${octet()}.${octet()}.${octet()}`;
  private readonly children: ChildProcess[] = [];

  /** Starts one by whose DNS no name leads anywhere yet. */
  static async start(): Promise<Authority> {
    const authority = new Authority();
    authority.run();
    await Promise.all([PORTS.acme, PORTS.dnsManagement].map((port) => authority.listening(port)));
    return authority;
  }

  private run(): void {
    const { chain, key } = selfSigned(`IP:${this.ip}`);
    writeFileSync(this.file('server.pem'), chain);
    writeFileSync(this.file('server.key'), key);
    const at = (port: number) => `${this.ip}:${port}`;
    const pebble = {
      listenAddress: at(PORTS.acme),
      managementListenAddress: at(PORTS.management),
      certificate: this.file('server.pem'),
      privateKey: this.file('server.key'),
      httpPort: PORTS.http,
      tlsPort: PORTS.https,
    };
    writeFileSync(this.file('pebble.json'), JSON.stringify({ pebble }));
    const none = ['-http01', '', '-https01', '', '-tlsalpn01', '', '-defaultIPv4', '', '-defaultIPv6', ''];
    const dns = ['-dns01', at(PORTS.dns), '-management', at(PORTS.dnsManagement)];
    this.spawn('pebble-challtestsrv', [...none, ...dns]);
    this.spawn('pebble', ['-config', this.file('pebble.json'), '-dnsserver', at(PORTS.dns)]);
  }

  private spawn(program: string, args: string[]): void {
    this.children.push(spawn(program, args, { stdio: 'ignore', env: { PATH: process.env.PATH } }));
  }

  private file(name: string): string {
    return join(this.home, name);
  }

  private async listening(port: number): Promise<void> {
    const answers = () =>
      new Promise<boolean>((resolve) => {
        const socket = connect(port, this.ip, () => resolve(true));
        socket.once('error', () => resolve(false)).once('close', () => socket.destroy());
      });
    while (!(await answers())) await new Promise(setImmediate);
  }

  /** Where a cloud must listen to be found by it. */
  get http(): string {
    return `${this.ip}:${PORTS.http}`;
  }

  /** The environment of a cloud that orders from it. */
  get environment(): Record<string, string> {
    const table = `[acme]\nresolver = "${this.ip}:${PORTS.dns}"\noutside_http_port = ${PORTS.http}\noutside_https_port = ${PORTS.https}\n`;
    writeFileSync(this.file('picloud.toml'), table);
    return {
      PICLOUD_CONFIG: this.file('picloud.toml'),
      PICLOUD_HTTPS: `${this.ip}:${PORTS.https}`,
      PICLOUD_AUTOMATIC_CERTIFICATES: 'true',
      PICLOUD_ACME_DIRECTORY: `https://${this.ip}:${PORTS.acme}/dir`,
      PICLOUD_ACME_ROOT: this.file('server.pem'),
    };
  }

  /** Has its DNS lead a name to its own address. */
  async lead(host: string): Promise<void> {
    const body = JSON.stringify({ host: `${host}.`, addresses: [this.ip] });
    const answer = await fetch(`http://${this.ip}:${PORTS.dnsManagement}/add-a`, { method: 'POST', body });
    if (!answer.ok) throw new Error(`add-a ${host}: ${answer.status}`);
  }

  /** Ends the authority; its DNS goes on. */
  stop(): void {
    this.children[1]?.kill();
  }

  end(): void {
    for (const child of this.children) child.kill('SIGKILL');
    rmSync(this.home, { recursive: true });
  }
}

function octet(): number {
  return 1 + Math.floor(Math.random() * 250);
}
