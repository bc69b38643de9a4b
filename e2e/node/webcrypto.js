// Node.js before 20 has Web Crypto, but not under its global name, and some
// clients look for it there. Import this first.
import { webcrypto } from "node:crypto";

globalThis.crypto ??= webcrypto;
globalThis.CryptoKey ??= webcrypto.CryptoKey;
