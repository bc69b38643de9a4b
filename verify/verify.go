// Package verify decides about tokens of issuers that are reached over HTTP:
// JSON Web Tokens by the keys that the issuer publishes ([JWT], [JWKS]), and
// others by asking it ([Introspection]). [Remote] puts both together for one
// issuer. [Cache] knows the tokens that were found good before, also those of a
// verifier that is not from here.
//
// A token is good, or it is not (invalid_token), or that could not be decided;
// the last is never taken for one of the others.
package verify
