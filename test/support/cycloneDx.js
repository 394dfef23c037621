// CycloneDX's own schema for bills of materials.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import Ajv from 'ajv';
import addFormats from 'ajv-formats';

const library = dirname(createRequire(import.meta.url).resolve('@cyclonedx/cyclonedx-library/package.json'));
const schema = (name) =>
  JSON.parse(readFileSync(join(library, 'res', 'schema', `${name}.SNAPSHOT.schema.json`), 'utf8'));

/** What is wrong with a bill of materials: nothing of a valid one. */
export function validateBill(bill) {
  const ajv = new Ajv.default({ strict: false, validateFormats: true, allErrors: true });
  addFormats.default(ajv);
  // Formats of JSON Schema that the package of formats lacks.
  for (const name of ['iri-reference', 'idn-email']) ajv.addFormat(name, true);
  for (const name of ['spdx', 'jsf-0.82'])
    ajv.addSchema(schema(name), `http://cyclonedx.org/schema/${name}.SNAPSHOT.schema.json`);
  const validate = ajv.compile(schema('bom-1.5'));
  return validate(bill) ? [] : validate.errors.map(({ instancePath, message }) => `${instancePath}: ${message}`);
}
