// What the tests run against: a Latchkey that tests/client/test_typescript.py serves, with somebody who plays its worker.
import { Latchkey } from "../dist/index.js";

const environment = (name) => {
  const told = process.env[name];
  if (told === undefined) throw new Error(`${name} is not set: run pytest tests/client/test_typescript.py`);
  return told;
};

export const baseUrl = environment("LATCHKEY_URL");
export const latchkey = new Latchkey({ baseUrl, apiKey: environment("LATCHKEY_API_KEY") });
export const sessionIds = JSON.parse(environment("SESSION_IDS"));
export const webhook = JSON.parse(environment("WEBHOOK"));
