/**
 * Answers as files, where no server runs. A request's file is named by the SHA-256 of its canonical JSON: the request
 * without its `id`, keys sorted, no spaces, numbers and strings as JavaScript writes them. The file holds the server's
 * frames one after another: four bytes of length (little-endian), a byte that is 0 for JSON and 1 for safetensors, the
 * frame.
 */
import type { Reply } from '../core/protocol';
import { readFrame, type Tensors } from '../core/safetensors';
import { sha256 } from './sha256';

export interface Answer {
  reply: Reply;
  tensors: Tensors;
}

/** What an exported folder says of itself: `course/static.json`. */
export interface Recorded {
  version: string;
  /** The day of the export, 2026-11-24. */
  day: string;
  /** Recordings there are, without `.bin`. */
  names: ReadonlySet<string>;
}

/** Null where the file is missing: what was recorded is then found out by asking. */
export async function readRecorded(url: string): Promise<Recorded | null> {
  const response = await fetch(url);
  if (!response.ok) return null;
  const { version, day, recorded } = (await response.json()) as { version: string; day: string; recorded: string[] };
  return { version, day, names: new Set(recorded) };
}

export function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  const entries = Object.entries(value).filter(([, entry]) => entry !== undefined);
  const inOrder = entries.sort(([one], [other]) => (one < other ? -1 : 1));
  return `{${inOrder.map(([key, entry]) => `${JSON.stringify(key)}:${canonical(entry)}`).join(',')}}`;
}

export function recordingName(lane: string, fields: object): string {
  return `${sha256(canonical({ ...fields, lane }))}.bin`;
}

/** The frames of a recording, in the order in which the server sent them. */
export function readRecording(buffer: ArrayBuffer): Answer[] {
  const view = new DataView(buffer);
  const answers: Answer[] = [];
  for (let at = 0; at < buffer.byteLength; ) {
    const length = view.getUint32(at, true);
    const [kind, start] = [view.getUint8(at + 4), at + 5];
    if (start + length > buffer.byteLength) throw new RangeError(`a frame of ${length} bytes ends behind the recording`);
    const bytes = buffer.slice(start, start + length);
    if (kind === 1) answers.push(readFrame(bytes) as unknown as Answer);
    else answers.push({ reply: JSON.parse(new TextDecoder().decode(bytes)) as Reply, tensors: new Map() });
    at = start + length;
  }
  return answers;
}
