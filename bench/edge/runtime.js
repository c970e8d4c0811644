// A client of Lambda's Runtime API for Node: asks for the next event, hands it to index.js, posts what it answers.
// AWS's own for Node has to be compiled here; this does the same with Node's http over one kept connection.
'use strict';
const http = require('http');
const path = require('path');

const [host, port] = process.env.AWS_LAMBDA_RUNTIME_API.split(':');
const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });

function ask(method, name, body) {
  return new Promise((done, failed) => {
    const headers = body === undefined ? {} : { 'Content-Length': Buffer.byteLength(body) };
    const url = `/2018-06-01/runtime/${name}`;
    const request = http.request({ host, port, agent, method, path: url, headers }, (answer) => {
      const parts = [];
      answer.on('data', (part) => parts.push(part));
      answer.on('end', () => done({ headers: answer.headers, text: Buffer.concat(parts).toString() }));
    });
    request.on('error', failed);
    request.setNoDelay(true);
    request.end(body);
  });
}

async function main() {
  const { handler } = require(path.join(process.env.LAMBDA_TASK_ROOT, 'index.js'));
  for (;;) {
    const event = await ask('GET', 'invocation/next');
    const id = event.headers['lambda-runtime-aws-request-id'];
    try {
      const answer = await handler(JSON.parse(event.text), { awsRequestId: id });
      await ask('POST', `invocation/${id}/response`, JSON.stringify(answer));
    } catch (error) {
      await ask('POST', `invocation/${id}/error`, JSON.stringify({ errorMessage: String(error) }));
    }
  }
}

main().catch(async (error) => {
  await ask('POST', 'init/error', JSON.stringify({ errorMessage: String(error) })).catch(() => {});
  process.exit(1);
});
