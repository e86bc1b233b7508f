// Compiles contracts of the checkout as a program wants them, for tests: never what is deployed.
//
// Each line on stdin is a JSON document: `sources` (file name to text, in place of what the checkout
// holds), `wanted` (file name to contract name), `settings` (the compiler's, without what it is to
// put out). For each, a line on stdout: `contracts` (contract name to `abi` and `bytecode`), or
// `errors` (the compiler's words). Warnings are none of this program's business.

import { existsSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const CHECKOUT = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const solc = createRequire(path.join(CHECKOUT, "package.json"))("solc");

function answer(request) {
  const resolve = (name) => {
    if (name in request.sources) return { contents: request.sources[name] };
    const file = path.join(CHECKOUT, name.startsWith("@") ? `node_modules/${name}` : name);
    return existsSync(file)
      ? { contents: readFileSync(file, "utf8") }
      : { error: `${name} is not there` };
  };
  const input = {
    language: "Solidity",
    sources: Object.fromEntries(
      Object.keys(request.wanted).map((name) => [name, { content: resolve(name).contents }]),
    ),
    settings: {
      ...request.settings,
      outputSelection: { "*": { "*": ["abi", "evm.bytecode.object"] } },
    },
  };
  const output = JSON.parse(solc.compile(JSON.stringify(input), { import: resolve }));
  const errors = (output.errors ?? []).filter((complaint) => complaint.severity === "error");
  if (errors.length > 0) return { errors: errors.map((error) => error.formattedMessage) };
  const made = Object.entries(request.wanted).map(([file, name]) => {
    const contract = output.contracts[file][name];
    return [name, { abi: contract.abi, bytecode: `0x${contract.evm.bytecode.object}` }];
  });
  return { contracts: Object.fromEntries(made) };
}

for await (const line of createInterface({ input: process.stdin })) {
  console.log(JSON.stringify(answer(JSON.parse(line))));
}
