import { spawnSync } from 'node:child_process';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Edit } from '../src/core/protocol';
import { copyAsPython, quoted, type Reproduced } from '../src/core/python';

const edits: Edit<number>[] = [
  { kind: 'shift-key', kv_head: '13.2', token: 3, shift: [0.1, -2, 1e-7], strength: 0.25 },
  { kind: 'swap-value', kv_head: '23.1', token: 1, source: 0, strength: 1 },
  { kind: 'share-kv', first_layer: 20, last_layer: 29, n_kv_head: 1, strength: 1 },
  { kind: 'shift-query', head: '13.8', query: 3, shift: [0.5], strength: 1 },
  { kind: 'aim-query', head: '13.8', query: 3, key: 1, margin: 3, strength: 1 },
  { kind: 'tie', where: 'all', strength: 1 },
  { kind: 'stop-rotation', where: '13', strength: 1 },
  { kind: 'mute', where: '23.4', key: 2, query: null, strength: 1 },
  { kind: 'strengthen', where: '13.8', query: 3, key: 1, amount: -2.5, strength: 1 },
  { kind: 'scale-scores', where: '13.8', factor: 0.5, strength: 1 },
  { kind: 'ablate', where: '13.8', to: 'mean', strength: 1 },
  { kind: 'ablate', where: '13.8', to: [1, 2], strength: 1 },
];
const state: Reproduced = { model: 'smollm2', text: 'It is', special: true, edits: [], head: '13.8', query: 1, at: 1 };

/** What a few lines of Python, fed with JSON, answer as JSON. */
function python(lines: string, input: unknown): unknown {
  const { stdout, stderr } = spawnSync('python3', ['-c', `import ast, json, sys\n${lines}`], { input: JSON.stringify(input) });
  expect(stderr.toString()).toBe('');
  return JSON.parse(stdout.toString());
}

test('the script, as a person reads it', () => {
  const script = copyAsPython({ ...state, text: 'Say "it"\n', special: false, edits: [edits[0]!, edits[7]!] });
  expect(script).toBe(`import qkvlab
from qkvlab.edits import Mute, ShiftKey

model = qkvlab.open_model("smollm2")
trace = model.trace(
    "Say \\"it\\"\\n",
    special=False,
    edits=[
        ShiftKey(kv_head="13.2", token=3, shift=(0.1, -2, 1e-7,), strength=0.25),
        Mute(where="23.4", key=2),
    ],
)

print("after", repr(trace.tokens[1]))
for word, p, logit in qkvlab.predict(trace, 1):
    print(f"{p:10.6f} {logit:10.4f}  {word!r}")

print("13.8", "from", repr(trace.tokens[1]))
for token, weight in zip(trace.tokens, trace.weights("13.8")[1]):
    print(f"{weight:10.6f}  {token!r}")
`);
});

test('a model without an output head predicts nothing', () => {
  expect(copyAsPython({ ...state, at: null })).not.toContain('predict');
});

describe('Python', () => {
  test('reads every edit as it was meant', () => {
    const calls = `
tree = ast.parse(json.load(sys.stdin))
found = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
edits = [{"class": c.func.id, **{k.arg: ast.literal_eval(k.value) for k in c.keywords}} for c in found]
print(json.dumps([edit for edit in edits if edit["class"][0].isupper()]))`;
    const read = python(calls, copyAsPython({ ...state, edits })) as { class: string }[];
    const classes = ['ShiftKey', 'SwapValue', 'ShareKV', 'ShiftQuery', 'AimQuery', 'Tie', 'StopRotation', 'Mute', 'Strengthen', 'ScaleScores', 'Ablate', 'Ablate'];
    expect(read.map((edit) => edit.class)).toEqual(classes);
    read.forEach((edit, i) => {
      const { class: _, ...values } = edit;
      const { kind: __, ...wanted } = Object.fromEntries(Object.entries(edits[i]!).filter(([, value]) => value !== null));
      expect({ strength: 1, ...values }).toEqual(wanted);
    });
  });

  test('reads any text back, and every script compiles', () => {
    const texts = fc.sample(fc.string({ unit: fc.oneof(fc.constantFrom(...'"\'\\{}\n\r\0\u2028\u202e\u00a0\x7f🏳️‍🌈é日'), fc.string({ unit: 'binary', maxLength: 3 })), maxLength: 30 }), 100);
    const read = 'print(json.dumps([ast.literal_eval(literal) for literal in json.load(sys.stdin)]))';
    expect(python(read, texts.map(quoted))).toEqual(texts);
    const compile = 'print(json.dumps([bool(compile(script, "lines", "exec")) for script in json.load(sys.stdin)]))';
    expect(new Set(python(compile, texts.map((text) => copyAsPython({ ...state, text }))) as boolean[])).toEqual(new Set([true]));
  });

  test('sees no character that changes how the line reads', () => {
    expect(quoted('a\u202eb\u2028c\ue000\u{e0001}d é日')).toBe('"a\\u202eb\\u2028c\\ue000\\U000e0001d é日"');
  });
});
