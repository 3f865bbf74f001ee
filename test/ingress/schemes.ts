import { vendors } from '../../vendors/index.ts';
import { plainSignature, type SignatureScheme } from '../../vendors/signature.ts';

/** Every signature scheme by its name. */
export const schemes = {
  oura: vendors.oura.webhook.schemes[0]!,
  whoop: vendors.whoop.webhook.schemes[0]!,
  terra: vendors.terra.webhook.schemes[0]!,
  bearer: vendors.healthkit.webhook.schemes[0]!,
  plain: plainSignature,
} satisfies Readonly<Record<string, SignatureScheme>>;
