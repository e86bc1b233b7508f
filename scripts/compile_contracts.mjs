// Compiles the contracts with npm's solc: see scripts/compile-contracts.
//
// An artifact depends on the sources and the settings below alone, never on the machine or the
// folder, so that anybody can check what is committed and, later, what is deployed.

import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { fileURLToPath } from "node:url";

const CHECKOUT = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const SOURCES = "contracts";
const NOT_DEPLOYED = "contracts/test/";
const ARTIFACTS = "node/chain/artifacts";
// Deployed as it comes from the library: the roles of the whole neighbourhood.
const ACCESS_MANAGER = "@openzeppelin/contracts/access/manager/AccessManager.sol";
const RUNTIME_LIMIT_BYTES = 24_576; // EIP-170

const SETTINGS = {
  // Clique networks stop at London: no PUSH0, no transient storage, no MCOPY.
  evmVersion: "london",
  optimizer: { enabled: true, runs: 1_000_000 },
  viaIR: true,
  // No hash of sources and paths behind the code: equal code is equal bytes.
  metadata: { bytecodeHash: "none" },
};

class Failure extends Error {}

function read(name) {
  return readFileSync(path.join(CHECKOUT, name), "utf8");
}

function soliditySources(folder) {
  const names = readdirSync(path.join(CHECKOUT, folder), { recursive: true });
  return names
    .map((name) => `${folder}/${name.split(path.sep).join("/")}`)
    .filter((name) => name.endsWith(".sol") && !name.startsWith(NOT_DEPLOYED))
    .sort();
}

function resolveImport(name) {
  const file = name.startsWith("@") ? `node_modules/${name}` : name;
  return existsSync(path.join(CHECKOUT, file))
    ? { contents: read(file) }
    : { error: `${name} is neither in ${SOURCES}/ nor in node_modules/` };
}

function compile(solc, ours) {
  const wanted = ["abi", "metadata", "evm.bytecode", "evm.deployedBytecode"];
  const input = {
    language: "Solidity",
    sources: Object.fromEntries([...ours, ACCESS_MANAGER].map((n) => [n, resolveImport(n)])),
    settings: {
      ...SETTINGS,
      outputSelection: Object.fromEntries(
        [...ours, ACCESS_MANAGER].map((name) => [name, { "": ["ast"], "*": wanted }]),
      ),
    },
  };
  for (const [name, source] of Object.entries(input.sources)) {
    if (source.error) throw new Failure(source.error);
    input.sources[name] = { content: source.contents };
  }
  const output = JSON.parse(solc.compile(JSON.stringify(input), { import: resolveImport }));
  const complaints = (output.errors ?? []).filter(
    (e) => e.severity === "error" || !e.sourceLocation?.file.startsWith("@"),
  );
  for (const complaint of complaints) console.error(complaint.formattedMessage);
  if (complaints.length > 0) {
    throw new Failure(`the compiler complains (${complaints.length}); a warning counts as an error`);
  }
  return output;
}

// What an artifact was made of: every source that the compiler read for it.
function sourceHash(metadata) {
  const hash = createHash("sha256");
  for (const name of Object.keys(JSON.parse(metadata).sources).sort()) {
    hash.update(`${name}\0${resolveImport(name).contents}\0`);
  }
  return hash.digest("hex");
}

// Places of immutables, by offset alone: the compiler's own keys are numbers of syntax tree nodes.
function immutablePlaces(references) {
  const places = Object.values(references ?? {}).flat();
  return places.sort((a, b) => a.start - b.start);
}

function isContract(output, file, name) {
  const definition = output.sources[file].ast.nodes.find(
    (node) => node.nodeType === "ContractDefinition" && node.name === name,
  );
  return definition.contractKind === "contract" && !definition.abstract;
}

function artifact(version, name, contract) {
  const { bytecode, deployedBytecode } = contract.evm;
  if (Object.keys(bytecode.linkReferences).length > 0) {
    throw new Failure(`${name} needs a deployed library; make the library's functions internal`);
  }
  return {
    abi: contract.abi,
    bytecode: `0x${bytecode.object}`,
    compiler: {
      evmVersion: SETTINGS.evmVersion,
      optimizerRuns: SETTINGS.optimizer.runs,
      version,
      viaIR: SETTINGS.viaIR,
    },
    contractName: name,
    deployedBytecode: `0x${deployedBytecode.object}`,
    immutableReferences: immutablePlaces(deployedBytecode.immutableReferences),
    sourceHash: sourceHash(contract.metadata),
  };
}

function artifactsOf(version, output, ours) {
  const artifacts = new Map();
  for (const file of [...ours, ACCESS_MANAGER]) {
    for (const [name, contract] of Object.entries(output.contracts[file] ?? {})) {
      if (!isContract(output, file, name)) continue;
      if (artifacts.has(name)) throw new Failure(`two contracts are called ${name}`);
      artifacts.set(name, artifact(version, name, contract));
    }
  }
  return artifacts;
}

function printSizes(artifacts) {
  let tooLarge = 0;
  for (const [name, { deployedBytecode }] of [...artifacts].sort()) {
    const bytes = deployedBytecode.length / 2 - 1;
    const verdict = bytes > RUNTIME_LIMIT_BYTES ? "  TOO LARGE" : "";
    console.log(`${name.padEnd(24)} ${String(bytes).padStart(6)} bytes at run time${verdict}`);
    tooLarge += bytes > RUNTIME_LIMIT_BYTES ? 1 : 0;
  }
  if (tooLarge > 0) {
    throw new Failure(`no chain takes more than ${RUNTIME_LIMIT_BYTES} bytes of code`);
  }
}

function committedFiles() {
  const folder = path.join(CHECKOUT, ARTIFACTS);
  return existsSync(folder) ? readdirSync(folder).filter((n) => n.endsWith(".json")) : [];
}

function differences(files) {
  const found = [];
  for (const [file, text] of files) {
    const place = `${ARTIFACTS}/${file}`;
    if (!existsSync(path.join(CHECKOUT, place))) {
      found.push(`${place} is missing`);
      continue;
    }
    if (read(place) === text) continue;
    const [old, now] = [JSON.parse(read(place)), JSON.parse(text)];
    const keys = [...new Set([...Object.keys(old), ...Object.keys(now)])].sort();
    const differing = keys.filter((k) => JSON.stringify(old[k]) !== JSON.stringify(now[k]));
    found.push(`${place} differs in ${differing.join(", ") || "its layout"}`);
  }
  for (const file of committedFiles()) {
    if (!files.has(file)) found.push(`${ARTIFACTS}/${file} comes from no source`);
  }
  return found;
}

function write(files) {
  const folder = path.join(CHECKOUT, ARTIFACTS);
  mkdirSync(folder, { recursive: true });
  for (const file of committedFiles()) {
    if (!files.has(file)) rmSync(path.join(folder, file));
  }
  for (const [file, text] of files) writeFileSync(path.join(folder, file), text);
}

function main(words) {
  const check = words.length === 1 && words[0] === "--check";
  if (words.length > 0 && !check) throw new Failure("usage: scripts/compile-contracts [--check]");
  const solc = createRequire(path.join(CHECKOUT, "package.json"))("solc");
  const version = solc.version().replace(/\.Emscripten\.clang$/, "");
  const ours = soliditySources(SOURCES);
  const artifacts = artifactsOf(version, compile(solc, ours), ours);
  printSizes(artifacts);
  const files = new Map(
    [...artifacts].map(([name, made]) => [`${name}.json`, `${JSON.stringify(made, null, 2)}\n`]),
  );
  if (!check) {
    write(files);
    console.log(`${files.size} artifacts written to ${ARTIFACTS}/`);
    return;
  }
  const found = differences(files);
  if (found.length > 0) {
    throw new Failure(`${found.join("\n")}\nrun scripts/compile-contracts and commit the result`);
  }
  console.log(`${files.size} artifacts are what the sources give`);
}

try {
  main(process.argv.slice(2));
} catch (error) {
  if (!(error instanceof Failure)) throw error;
  console.error(`compile-contracts: ${error.message}`);
  process.exitCode = 1;
}
