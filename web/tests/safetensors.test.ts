import { describe, expect, test } from 'vitest';
import { floats, readFrame, SafetensorsError } from '../src/core/safetensors';
import { frame } from './frames';

describe('a frame', () => {
  test('gives its reply and its tensors, each in its own type', () => {
    const buffer = frame({ part: 'head', query: 3 }, [
      { name: 'q', dtype: 'F32', shape: [2, 3], data: Float32Array.of(1, 2, 3, 5, 7, 11) },
      { name: 'top', dtype: 'I32', shape: [2], data: Int32Array.of(-1, 13) },
      { name: 'stamps', dtype: 'U8', shape: [1, 3], data: Uint8Array.of(0, 17, 255) },
    ]);
    const { reply, tensors } = readFrame(buffer);
    expect(reply).toEqual({ part: 'head', query: 3 });
    expect(tensors.get('q')).toEqual({ dtype: 'F32', shape: [2, 3], data: Float32Array.of(1, 2, 3, 5, 7, 11) });
    expect(tensors.get('top')!.data).toEqual(Int32Array.of(-1, 13));
    expect(tensors.get('stamps')!.data).toEqual(Uint8Array.of(0, 17, 255));
    expect(floats(tensors, 'q')).toHaveLength(6);
  });

  test('is viewed where its tensors are aligned and copied where not', () => {
    const bytes = { name: 'b', dtype: 'U8', shape: [3], data: Uint8Array.of(1, 2, 3) } as const;
    const numbers = { name: 'f', dtype: 'F32', shape: [1], data: Float32Array.of(2.5) } as const;
    const aligned = frame({}, [numbers, bytes]);
    expect(readFrame(aligned).tensors.get('f')!.data.buffer).toBe(aligned);
    expect(readFrame(frame({}, [bytes, numbers])).tensors.get('f')!.data).toEqual(Float32Array.of(2.5));
  });

  test('may hold a scalar and an empty tensor', () => {
    const { tensors } = readFrame(
      frame({}, [
        { name: 'one', dtype: 'F32', shape: [], data: Float32Array.of(4) },
        { name: 'none', dtype: 'F32', shape: [0, 5], data: new Float32Array() },
      ]),
    );
    expect(tensors.get('one')!.data).toEqual(Float32Array.of(4));
    expect(tensors.get('none')!.data).toHaveLength(0);
  });
});

describe('malformed bytes end in one clear line', () => {
  const whole = frame({ part: 'raw' }, [{ name: 'q', dtype: 'F32', shape: [2], data: Float32Array.of(1, 2) }]);
  const withHeader = (header: string, tail = 8): ArrayBuffer => {
    const text = new TextEncoder().encode(header);
    const bytes = new Uint8Array(8 + text.length + tail);
    new DataView(bytes.buffer).setBigUint64(0, BigInt(text.length), true);
    bytes.set(text, 8);
    return bytes.buffer;
  };
  const reply = '"__metadata__":{"reply":"{}"}';
  const tensor = (entry: string) => withHeader(`{${reply},"q":${entry}}`);

  test.each([
    ['nothing', new ArrayBuffer(0), /0 bytes/],
    ['a cut header', whole.slice(0, 20), /header claims/],
    ['cut data', whole.slice(0, whole.byteLength - 4), /do not hold \[2\]/],
    ['a huge header', new Uint8Array(16).fill(255).buffer, /header claims/],
    ['no JSON', withHeader('{'), /header is not JSON/],
    ['no object', withHeader('[]'), /not a JSON object/],
    ['no reply', withHeader('{}'), /no reply/],
    ['a reply that is no JSON', withHeader('{"__metadata__":{"reply":"}"}}'), /reply is not JSON/],
    ['an unknown type', tensor('{"dtype":"F16","shape":[4],"data_offsets":[0,8]}'), /type F16; expected F32/],
    ['a negative size', tensor('{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}'), /no valid shape/],
    ['offsets behind the end', tensor('{"dtype":"F32","shape":[2],"data_offsets":[4,12]}'), /do not hold/],
    ['offsets that disagree with the shape', tensor('{"dtype":"F32","shape":[3],"data_offsets":[0,8]}'), /do not hold/],
    ['an entry that is null', tensor('null'), /type undefined/],
  ])('%s', (_, bytes, message) => {
    expect(() => readFrame(bytes)).toThrow(SafetensorsError);
    expect(() => readFrame(bytes)).toThrow(message);
  });

  test('a tensor that is missing is named', () => {
    expect(() => floats(readFrame(whole).tensors, 'k')).toThrow('expected a float32 tensor k; the frame has q');
  });
});
