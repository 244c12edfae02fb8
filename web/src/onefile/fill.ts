/** Puts a head into the built template. Nothing that a person wrote reaches the markup unescaped. */
import { escaped } from '../snapshot/markup';
import { toBase64 } from './kept';

/** The places that `template.html` leaves open. */
const TITLE = '%title%';
const KEPT = '%kept%';

export function fill(template: string, title: string, bytes: ArrayBuffer): string {
  for (const place of [TITLE, KEPT]) {
    const places = template.split(place).length - 1;
    if (places !== 1) throw new Error(`the template has ${places} places for ${place}; expected 1`);
  }
  // By functions: in a text, $& and its like would be filled in. The data first: a title may say %kept%.
  return template.replace(KEPT, () => toBase64(bytes)).replace(TITLE, () => escaped(title));
}
