import { parseJson, type JsonFault } from '../vendors/json.ts';
import { SerdeError, type Serde } from '../streams/index.ts';

const codes: Readonly<Record<JsonFault, string>> = {
  empty: 'EMPTY_BODY',
  not_utf8: 'NOT_UTF8',
  not_json: 'NOT_JSON',
  too_complex: 'TOO_COMPLEX',
};

/** Reads a vendor's body as JSON; a fault names code and byte position, never the body itself. */
export const rawPayload: Serde<unknown> = {
  serialize: () => {
    throw new SerdeError('READ_ONLY', 'raw payloads are the vendors’ own bytes and are never rewritten');
  },
  deserialize: (bytes) => {
    if (bytes === null) throw new SerdeError('EMPTY_BODY', 'the record has no value');
    const parsed = parseJson(bytes);
    if (!parsed.ok)
      throw new SerdeError(
        codes[parsed.code],
        `the body stops being JSON at byte ${parsed.at} of ${bytes.length}`,
      );
    return parsed.value;
  },
};
