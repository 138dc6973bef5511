// The stand-in of SQS and SNS on loopback. Arguments: the folder of fauxqs, the port. It ends when its standard input does.
import { pathToFileURL } from 'node:url';
import { join } from 'node:path';

const [folder, port] = process.argv.slice(1);
const { buildApp } = await import(pathToFileURL(join(folder, 'dist', 'app.js')).href);
const app = buildApp({ logger: false, host: '127.0.0.1', defaultRegion: 'eu-west-1' });
const address = await app.listen({ port: Number(port), host: '127.0.0.1' });
console.log(`listening on ${address}`);
process.stdin.resume();
process.stdin.on('end', () => process.exit(0));
