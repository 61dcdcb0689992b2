// Compiles the contracts with the pinned compiler.
//
//   node build.mjs            writes artifacts/NAME.json
//   node build.mjs --check    compares them with what the sources give, and fails if they differ
//
// Beside the contracts: consumers/*.sol, which use them, hostile/*.sol, which they must withstand, comparison/*.sol,
// which stand on OpenZeppelin, and mutants/*.json, which are the contracts with a bug planted, for the tests to find.

import { mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const require = createRequire(import.meta.url);
const solc = require("solc");

const settings = {
  evmVersion: "cancun",
  viaIR: false,
  optimizer: { enabled: true, runs: 1_000_000 },
  metadata: { appendCBOR: false, bytecodeHash: "none" },
};

function sourcesIn(folder) {
  const names = readdirSync(join(here, folder)).filter((name) => name.endsWith(".sol"));
  return Object.fromEntries(
    names.sort().map((name) => [`${folder}/${name}`, { content: readFileSync(join(here, folder, name), "utf8") }]),
  );
}

// What a library's file imports, from the installed packages alone.
function findImport(path) {
  try {
    return { contents: readFileSync(require.resolve(path), "utf8") };
  } catch (error) {
    return { error: String(error) };
  }
}

// Code is made of what is asked for alone.
function compile(sources, paths) {
  const parts = { "*": ["abi", "evm.bytecode.object", "evm.deployedBytecode.object"] };
  const outputSelection = Object.fromEntries(paths.map((path) => [path, parts]));
  const input = { language: "Solidity", sources, settings: { ...settings, outputSelection } };
  const output = JSON.parse(solc.compile(JSON.stringify(input), { import: findImport }));
  const complaints = output.errors ?? [];
  complaints.forEach((complaint) => console.error(complaint.formattedMessage));
  if (complaints.length > 0) {
    process.exit(1);
  }
  return output.contracts;
}

function isLibrary(source, name) {
  return new RegExp(`^library ${name}\\b`, "m").test(source);
}

// One artefact for each contract that can be deployed and is named as its file. Libraries are part of their users' code.
function artefacts(sources, paths = Object.keys(sources)) {
  const contracts = compile(sources, paths);
  const made = new Map();
  for (const path of paths) {
    const name = path.split("/").at(-1).replace(".sol", "");
    const contract = contracts[path]?.[name];
    if (!contract || contract.evm.bytecode.object === "" || isLibrary(sources[path].content, name)) continue;
    const artefact = {
      contractName: name,
      source: path,
      compiler: { version: solc.version(), settings },
      abi: contract.abi,
      bytecode: `0x${contract.evm.bytecode.object}`,
      deployedBytecode: `0x${contract.evm.deployedBytecode.object}`,
    };
    made.set(name, `${JSON.stringify(artefact, null, 2)}\n`);
  }
  return made;
}

function write(folder, made) {
  mkdirSync(folder, { recursive: true });
  for (const [name, text] of made) {
    writeFileSync(join(folder, `${name}.json`), text);
    console.log(`${folder.split("/").at(-1)}/${name}: ${text.match(/"bytecode": "0x([0-9a-f]*)"/)[1].length / 2} bytes to create it`);
  }
}

function check(folder, made) {
  const present = readdirSync(folder).filter((name) => name.endsWith(".json"));
  const expected = [...made.keys()].map((name) => `${name}.json`);
  const differing = expected.filter((name) => {
    const text = made.get(name.replace(".json", ""));
    return !present.includes(name) || readFileSync(join(folder, name), "utf8") !== text;
  });
  differing.push(...present.filter((name) => !expected.includes(name)));
  if (differing.length > 0) {
    console.error(`not what the sources give: ${differing.join(", ")}; run "npm run build" and commit`);
    process.exit(1);
  }
  console.log(`${expected.length} artefacts are what ${solc.version()} makes of the sources`);
}

// Each replaces one place of one source.
const mutants = [
  { name: "CoffeeTokenPaysTwice", of: "CoffeeToken", from: "paid[key] = true;", to: "" },
  { name: "CoffeeTokenSpendsForAnyone", of: "CoffeeToken", from: "if (msg.sender != from) spendAllowance(from, amount);", to: "" },
  { name: "CoffeeTokenTakesBothSignatures", of: "Eip712", from: "uint256(s) > HALF_ORDER ? address(0) : ecrecover", to: "ecrecover" },
  { name: "CoffeeTokenMintsForAnyone", of: "CoffeeToken", from: "external onlyRole(MINTER_ROLE) {", to: "external {" },
  { name: "CoffeeTokenMintsOverItsCap", of: "CoffeeToken", from: "if (amount > available)", to: "if (amount > available + supply)" },
  { name: "CoffeeTokenRedeemsWhatIsNotThere", of: "CoffeeToken", from: "if (points > available)", to: "if (points > available && available > 0)" },
  { name: "SupplyChainTakesFromAnyone", of: "SupplyChain", from: "if (held.offeredTo != msg.sender) revert NotOffered(lotId, held.offeredTo);", to: "" },
  { name: "SupplyChainForgetsAStep", of: "SupplyChain", from: "held.trail = step(held.trail, from, msg.sender, document);", to: "" },
  { name: "PaymentProcessorTakesFromAnyone", of: "PaymentProcessor", from: "if (made.payer != address(0) && made.payer != msg.sender) revert NotThePayer(made.payer);", to: "" },
  { name: "PriceOracleCountsAnyone", of: "OracleConfiguration", from: "iszero(eq(signer, shr(96, mload(key))))", to: "0" },
  { name: "PriceOracleTakesOldRounds", of: "PriceOracle", from: "iszero(gt(shl(100, stamp), shl(100, before)))", to: "0" },
  { name: "PriceOracleHearsEarlierMembers", of: "PriceOracle", from: "nth << 140", to: "nth >> 140" },
  { name: "PriceOracleTakesAnyPrice", of: "PriceOracle", from: "gt(value, and(record, 0xffffffffffffffffffffffffff))", to: "0" },
  { name: "PriceOracleNeverHalts", of: "PriceOracle", from: "stamp & ROUNDS | HALTED;", to: "stamp & ROUNDS;" },
  { name: "PriceOracleTakesWhatItRefused", of: "PriceOracle", from: "before & ~ROUNDS | stamp & ROUNDS | HALTED", to: "before | stamp & 0 | HALTED" },
  { name: "PriceOracleTakesWhatIsOfBeforeTheReset", of: "PriceOracle", from: "reopening[feed] = block.timestamp + 1;", to: "" },
  { name: "PriceOracleTakesAnyScalar", of: "Schnorr", from: "eq(recovered, nonce)", to: "gt(nonce, 0)" },
  { name: "CoffeeTokenPaysItself", of: "CoffeeToken", from: "if (from == to) revert PaidToPayer(from);", to: "" },
  { name: "CoffeeTokenForgetsTheContract", of: "Eip712", from: "nameHash, versionHash, block.chainid, address(this)", to: "nameHash, versionHash, block.chainid, address(0)" },
  { name: "CoffeeTokenCarriesPointsOver", of: "CoffeeToken", from: "if (pointsAfter > type(uint128).max)", to: "if (pointsAfter > type(uint256).max)" },
  { name: "SupplyChainHashesFactsOnce", of: "SupplyChain", from: "return hashedAgain(keccak256(abi.encode(key, value)));", to: "return keccak256(abi.encode(key, value));" },
  { name: "SupplyChainTakesInnerNodes", of: "SupplyChain", from: "leadsToRoot(lotId, hashedAgain(factHash), proof)", to: "leadsToRoot(lotId, factHash, proof)" },
  { name: "SupplyChainWantsNoProof", of: "SupplyChain", from: "root != 0 && node == root", to: "root != 0 && (node == root || proof.length == 0)" },
  { name: "PaymentProcessorMayBeReentered", of: "PaymentProcessor", from: "if (isEntered) revert Reentered();", to: "" },
  { name: "PaymentProcessorBelievesTheToken", of: "PaymentProcessor", from: "if (received != amount)", to: "if (received > amount)" },
  { name: "PaymentProcessorLetsATokenTakeMore", of: "PaymentProcessor", from: "if (before > left + amount)", to: "if (before > left + 2 * amount)" },
  { name: "PaymentProcessorTakesNoForYes", of: "PaymentProcessor", from: "answer.length >= 32 && abi.decode(answer, (uint256)) == 1", to: "true" },
  { name: "PaymentProcessorRefundsTwice", of: "PaymentProcessor", from: "made.refunded += amount;", to: "" },
];

function mutantArtefacts() {
  const made = new Map();
  for (const { name, of, from, to } of mutants) {
    const sources = sourcesIn("src");
    const path = `src/${of}.sol`;
    const parts = sources[path].content.split(from);
    if (parts.length !== 2) throw new Error(`${name}: its place is not there once`);
    sources[path].content = parts.join(to);
    const contract = ["CoffeeToken", "SupplyChain", "PaymentProcessor", "PriceOracle"].find((known) => name.startsWith(known));
    const text = artefacts(sources, [`src/${contract}.sol`]).get(contract);
    const { source, compiler, bytecode } = JSON.parse(text);
    const artefact = { contractName: name, source, replaces: { in: path, from, to }, compiler, bytecode };
    made.set(name, `${JSON.stringify(artefact, null, 2)}\n`);
  }
  return made;
}

const folders = [
  ["artifacts", () => artefacts(sourcesIn("src"))],
  ["consumers", () => artefacts(sourcesIn("consumers"))],
  ["hostile", () => artefacts(sourcesIn("hostile"))],
  ["comparison", () => artefacts(sourcesIn("comparison"))],
  ["mutants", mutantArtefacts],
];
const [option] = process.argv.slice(2);
if (option === undefined) {
  folders.forEach(([folder, make]) => write(join(here, folder), make()));
} else if (option === "--check") {
  folders.forEach(([folder, make]) => check(join(here, folder), make()));
} else {
  console.error("usage: node build.mjs [--check]");
  process.exit(2);
}
