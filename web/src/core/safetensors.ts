/** The binary answers of the server: a safetensors file whose metadata carries the reply as JSON. Read, and written. */

export type Data = Float32Array | Int32Array | Uint8Array;

export interface Tensor {
  dtype: 'F32' | 'I32' | 'U8';
  shape: number[];
  data: Data;
}

export type Tensors = Map<string, Tensor>;

/** The bytes are not the safetensors file that docs/protocol.md describes. */
export class SafetensorsError extends Error {
  override name = 'SafetensorsError';
}

const KINDS = { F32: Float32Array, I32: Int32Array, U8: Uint8Array } as const;

/** The metadata and the tensors of a file. Tensors are views of the bytes, copied only where misaligned. */
export function readSafetensors(buffer: ArrayBuffer): { metadata: Record<string, unknown>; tensors: Tensors } {
  const { header, start } = readHeader(buffer);
  const { __metadata__: metadata = {}, ...entries } = header;
  if (!isObject(metadata)) throw new SafetensorsError('the metadata is not a JSON object');
  const named = Object.entries(entries).map(([name, entry]) => [name, readTensor(buffer, start, name, entry)] as const);
  return { metadata, tensors: new Map(named) };
}

/** The bytes of a safetensors file; the numbers begin at a multiple of eight, as in the server's. */
export function writeSafetensors(metadata: Record<string, string>, tensors: Tensors): ArrayBuffer {
  let end = 0;
  const entries = [...tensors].map(([name, { dtype, shape, data }]) => {
    const start = end;
    end += data.byteLength;
    return [name, { dtype, shape, data_offsets: [start, end] }] as const;
  });
  const header = new TextEncoder().encode(JSON.stringify({ __metadata__: metadata, ...Object.fromEntries(entries) }));
  const start = 8 + Math.ceil(header.length / 8) * 8;
  const bytes = new Uint8Array(start + end).fill(0x20, 8, start);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(start - 8), true);
  bytes.set(header, 8);
  let at = start;
  for (const { data } of tensors.values()) {
    bytes.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), at);
    at += data.byteLength;
  }
  return bytes.buffer;
}

/** The reply and the tensors of a binary frame. */
export function readFrame(buffer: ArrayBuffer): { reply: Record<string, unknown>; tensors: Tensors } {
  const { metadata, tensors } = readSafetensors(buffer);
  const text = metadata['reply'];
  if (typeof text !== 'string') throw new SafetensorsError('the frame has no reply in its metadata');
  return { reply: parseObject(text, 'reply'), tensors };
}

/** The numbers of a float32 tensor. */
export function floats(tensors: Tensors, name: string): Float32Array {
  const data = tensors.get(name)?.data;
  if (data instanceof Float32Array) return data;
  const names = [...tensors.keys()].join(', ') || 'none';
  throw new SafetensorsError(`expected a float32 tensor ${name}; the frame has ${names}`);
}

function readHeader(buffer: ArrayBuffer): { header: Record<string, unknown>; start: number } {
  const size = buffer.byteLength;
  if (size < 8) throw new SafetensorsError(`the frame has ${size} bytes; expected at least 8`);
  const length = new DataView(buffer).getBigUint64(0, true);
  if (length > BigInt(size - 8)) {
    throw new SafetensorsError(`the header claims ${length} bytes; the frame has ${size - 8} left`);
  }
  const start = 8 + Number(length);
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(new Uint8Array(buffer, 8, Number(length)));
  } catch {
    throw new SafetensorsError('the header is not UTF-8');
  }
  return { header: parseObject(text, 'header'), start };
}

function readTensor(buffer: ArrayBuffer, start: number, name: string, entry: unknown): Tensor {
  const { dtype, shape, data_offsets: offsets } = isObject(entry) ? entry : {};
  if (dtype !== 'F32' && dtype !== 'I32' && dtype !== 'U8') {
    throw new SafetensorsError(`tensor ${name} has the type ${String(dtype)}; expected F32, I32 or U8`);
  }
  if (!isCounts(shape) || !isCounts(offsets) || offsets.length !== 2) {
    throw new SafetensorsError(`tensor ${name} has no valid shape and data_offsets`);
  }
  const Kind = KINDS[dtype];
  const count = shape.reduce((product, size) => product * size, 1);
  const [from, to] = [start + offsets[0]!, start + offsets[1]!];
  if (to > buffer.byteLength || to - from !== count * Kind.BYTES_PER_ELEMENT) {
    const [span, sizes] = [offsets.join(' to '), shape.join(', ')];
    throw new SafetensorsError(`tensor ${name} spans bytes ${span}, which do not hold [${sizes}]`);
  }
  const aligned = from % Kind.BYTES_PER_ELEMENT === 0;
  const data = aligned ? new Kind(buffer, from, count) : new Kind(buffer.slice(from, to));
  return { dtype, shape, data };
}

function parseObject(text: string, what: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new SafetensorsError(`the ${what} is not JSON`);
  }
  if (!isObject(value)) throw new SafetensorsError(`the ${what} is not a JSON object`);
  return value;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isCounts(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((x) => Number.isSafeInteger(x) && x >= 0);
}
