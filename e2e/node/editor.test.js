// What somebody sees who edits the files in an editor with yaml-language-server:
// mistakes are underlined where they stand, keys are explained and completed.
import {after, before, test} from 'node:test';
import assert from 'node:assert/strict';
import {execFileSync} from 'node:child_process';
import {mkdtempSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {startEditor} from './editor.js';

const dir = mkdtempSync(join(tmpdir(), 'jeton-editor-'));
const editor = startEditor('node_modules/yaml-language-server/bin/yaml-language-server');
let files = 0;

before(async () => {
  for (const name of ['dialect', 'config']) {
    execFileSync(process.env.JETON, ['schema', name, '-o', join(dir, name + '.json')]);
  }
  await editor.start(dir);
});
after(() => {
  editor.stop();
  rmSync(dir, {recursive: true});
});

// open opens a file whose first line names a schema beside it, and returns its
// URI and what is underlined: line, column and message.
async function open(schema, text) {
  const path = join(dir, `file${files++}.yaml`);
  writeFileSync(path, `# yaml-language-server: $schema=${schema}.json\n${text}`);
  const {uri, diagnostics} = await editor.open(path);
  return {uri, told: diagnostics.map(d => `${d.range.start.line + 1}:${d.range.start.character + 1}: ${d.message}`)};
}

const dialect = `dialect: own
token:
  POST: https://auth.example.com/token
  form: {user: $username, password: $password}
`;

test('a good dialect and a good configuration have nothing underlined', async () => {
  assert.deepEqual((await open('dialect', dialect)).told, []);
  assert.deepEqual((await open('dialect', 'extend: alvys\ndialect: own\ntoken: {headers: {x-a: $b, x-c: ~}}\n')).told, []);
  assert.deepEqual((await open('config', 'store: sqlite:jeton.db\nseal: file:seal.key\nissuer: {realms: {a: {dialect: oauth2}}}\n')).told, []);
});

test('a mistake is underlined where it stands', async () => {
  assert.deepEqual((await open('dialect', dialect.replace('form:', 'from:'))).told, ['5:3: Property from is not allowed.']);
  assert.match((await open('dialect', dialect.replace('$username', '$Username'))).told.join(), /^5:16: a \$ is followed by a name in lower case/);
  assert.deepEqual((await open('dialect', 'extend: alvys\ndialect: own\nlifetme: ~\n')).told, ['4:1: Property lifetme is not allowed.']);
  assert.deepEqual((await open('config', 'issuer:\n  listn: a\n  realms: {}\n')).told, ['3:3: Property listn is not allowed.']);
  assert.match((await open('config', 'issuer: {realms: {a: {dialect: oauth2, alg: HS265}}}\n')).told.join(), /^2:45: .*"HS256"/);
  assert.match((await open('config', 'seal: hunter2\nbroker: {accounts: {}}\n')).told.join(), /^2:7: a secret does not stand in the file/);
});

test('a key is explained, and those that there are offered', async () => {
  const {uri} = await open('dialect', dialect + '  \nlifetime: 24h\n');
  const hover = await editor.ask('textDocument/hover', {textDocument: {uri}, position: {line: 6, character: 3}});
  assert.match(hover.contents.value, /How long a token lives whose answer does not say/);
  const offered = await editor.ask('textDocument/completion', {textDocument: {uri}, position: {line: 5, character: 2}});
  const labels = offered.items.map(i => i.label);
  assert.ok(labels.includes('returns') && labels.includes('basic') && !labels.includes('form') && !labels.includes('when'), labels.join(' '));
});
