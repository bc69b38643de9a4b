// An editor, as far as these tests need one: it starts yaml-language-server and
// speaks the Language Server Protocol with it.
import {spawn} from 'node:child_process';
import {readFileSync} from 'node:fs';
import {pathToFileURL} from 'node:url';

export function startEditor(server) {
  const child = spawn(process.execPath, [server, '--stdio'], {stdio: ['pipe', 'pipe', 'inherit']});
  const waiting = new Map(), told = new Map(), heard = new Map();
  let id = 0, buffer = Buffer.alloc(0);
  const send = message => {
    const text = JSON.stringify({jsonrpc: '2.0', ...message});
    child.stdin.write(`Content-Length: ${Buffer.byteLength(text)}\r\n\r\n${text}`);
  };
  const take = m => {
    if (m.method && m.id !== undefined) {
      // The server asks for settings; it gets none.
      send({id: m.id, result: m.method === 'workspace/configuration' ? m.params.items.map(() => null) : null});
    } else if (m.id !== undefined) {
      waiting.get(m.id)(m);
    } else if (m.method === 'textDocument/publishDiagnostics') {
      heard.set(m.params.uri, m.params.diagnostics);
      told.get(m.params.uri)?.(m.params.diagnostics);
    }
  };
  child.stdout.on('data', data => {
    buffer = Buffer.concat([buffer, data]);
    for (;;) {
      const head = buffer.indexOf('\r\n\r\n');
      if (head < 0) return;
      const length = Number(/Content-Length: (\d+)/.exec(buffer.subarray(0, head).toString())[1]);
      if (buffer.length < head + 4 + length) return;
      const body = buffer.subarray(head + 4, head + 4 + length).toString();
      buffer = buffer.subarray(head + 4 + length);
      take(JSON.parse(body));
    }
  });
  const ask = (method, params) => new Promise((resolve, reject) => {
    waiting.set(++id, m => m.error ? reject(new Error(m.error.message)) : resolve(m.result));
    send({id, method, params});
  });
  return {
    ask,
    async start(root) {
      await ask('initialize', {processId: process.pid, rootUri: pathToFileURL(root).href, capabilities: {
        textDocument: {publishDiagnostics: {}, hover: {contentFormat: ['markdown']}, completion: {completionItem: {snippetSupport: true, documentationFormat: ['markdown']}}}}});
      send({method: 'initialized', params: {}});
      send({method: 'workspace/didChangeConfiguration', params: {settings: {yaml: {validate: true, hover: true, completion: true, schemaStore: {enable: false}}}}});
    },
    open(path) {
      const uri = pathToFileURL(path).href;
      return new Promise(resolve => {
        told.set(uri, d => resolve({uri, diagnostics: d}));
        send({method: 'textDocument/didOpen', params: {textDocument: {uri, languageId: 'yaml', version: 1, text: readFileSync(path, 'utf8')}}});
      });
    },
    stop() { child.kill(); },
  };
}
