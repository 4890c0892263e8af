// Judges an OpenAPI document by the public schema of its version.
import { readFileSync } from "node:fs";
import { Validator } from "@seriousme/openapi-schema-validator";

const validator = new Validator();
const found = await validator.validate(JSON.parse(readFileSync("openapi.json", "utf8")));
if (!found.valid || validator.version !== "3.1") {
  console.error(validator.version, JSON.stringify(found.errors, null, 1));
  process.exit(1);
}
