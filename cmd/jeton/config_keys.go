package main

import (
	"slices"
	"strings"
)

// The keys of the configuration file: those that the parser takes, and what
// `jeton schema config` tells editors about them. A new key begins here.

// Types of values that several keys have.
var (
	aDuration = matching(`^([0-9]{1,5}d|([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+)$`,
		"write a length of time: 30d, 24h, 90m or 30s", "30d", "24h", "90m", "30s")
	aRate = matching(`^[1-9][0-9]*/(s|sec|min|h|hour|day)$`, "write a number and a unit: 10/min, 100/h", "10/min", "100/h")
	aSize = anyOf(from(1), matching(sizes.String(), "write 10MiB, 64KiB or a number of bytes", "10MiB", "64KiB"))

	aReference = matching(`^(env|file):[^\n]+$`, "a secret does not stand in the file: write env:NAME or file:PATH", "env:NAME", "file:/run/secrets/NAME")
	references = anyOf(aReference, listOf(aReference))

	aPath     = text()
	anAddress = matching(`^[^/]*:[0-9]{1,5}$`, "write HOST:PORT, such as 127.0.0.1:8080", "127.0.0.1:8080")
	aURL      = matching(`^https?://[^/?#@]+(/[^?#]*)?$`, "write a URL that begins with http:// or https://, without credentials, ? and #", "https://auth.example.com")
	aPrefix   = matching(`^(/|(/[A-Za-z0-9._~-]+)+/?)$`, "write a path such as /support, or / for all paths", "/support")
	proxies   = &schema{Type: "array", Items: matching(`^[0-9A-Fa-f.:]+(/[0-9]{1,3})?$`, "write an address or a network: 10.0.0.1 or 10.0.0.0/8", "10.0.0.0/8")}
	aName     = matching(validName.String(), "a name has letters, digits, dots, dashes and underscores, 64 at most")
	aDialect  = text("iadvize", "oauth2", "./my.yaml")
	words     = listOf(text())
)

// named is a mapping from names of one's own to values.
func named(values *schema) *schema { return mapOf(aName, values) }

var configKeys = keySet{
	{"store", anyOf(aStore, storeMap), "Where state is kept. memory (the default) forgets at exit; sqlite:PATH is one machine; postgres:// is many machines; redis://, etcd://, vault:// and kubernetes:// are for brokers of many machines. A mapping adds a password and certificates.", false},
	{"seal", references, "The sealing key, as a reference; every store but memory needs one. Of a list, the first key seals and all open. `jeton config new-key` makes one.", false},
	{"dialects", aPath, "A folder with dialect files of one's own, NAME.yaml. Those that accounts and realms use are read again when they change.", false},
	{"issuer", object(issuerKeys), "The authorization server: realms that give tokens out.", false},
	{"guard", object(guardKeys), "What stands in front of APIs and lets calls with a good token through.", false},
	{"broker", object(brokerKeys), "What logs in to vendors and shares their tokens with local programs.", false},
	{"console", object(consoleKeys), "The web page on which people look after realms. `{}` takes the defaults.", false},
	{"traces", object(tracesKeys), "Where the broker's traces go. Left out: there are none.", false},
}

var aStore = matching(storePattern(), "write memory, sqlite:PATH or the URL of a store, without its password",
	"memory", "sqlite:jeton.db", "postgres://jeton@db.example.com/jeton", "rediss://jeton@redis.example.com:6379/0?prefix=jeton")

func storePattern() string {
	schemes := []string{}
	for scheme := range remotes {
		schemes = append(schemes, strings.ReplaceAll(scheme, "+", `\+`))
	}
	slices.Sort(schemes)
	return `^(memory:?|sqlite:.+|(` + strings.Join(schemes, "|") + `)://(\[[0-9A-Fa-f:.]+\]|[^:/?#]*)(:[0-9]*)?([,/?@].*)?)$`
}

var storeMap = withCert(object(storeKeys), "key")

var storeKeys = keySet{
	{"url", aStore, "Which store, and where. Its password stands beside it.", true},
	{"password", aReference, "The store's password, or the token or secret with which one logs in to Vault and Kubernetes.", false},
	{"ca", aPath, "A file with the certificates (PEM) that the server's must come from. Left out: the system's.", false},
	{"cert", aPath, "A file with the certificate (PEM) that the server asks for. Goes with key.", false},
	{"key", aReference, "The key of that certificate.", false},
}

// withCert makes a certificate and its key go together.
func withCert(s *schema, key string) *schema {
	s.Dependencies = map[string][]string{"cert": {key}, key: {"cert"}}
	return s
}

var issuerKeys = keySet{
	{"listen", anAddress, "Where the issuer listens. Default: 127.0.0.1:8080.", false},
	{"url", aURL, "The URL under which clients reach it. A realm's issuer identifier is this and the realm's prefix. Default: the address of listen.", false},
	{"trusted_proxies", proxies, "Proxies whose X-Forwarded-For counts. Default: nobody's.", false},
	{"guards", named(object(guardOfIssuerKeys)), "Guards in other processes, by name, which hear what ends before its time. Default: none.", false},
	{"realms", named(object(realmKeys)), "The realms, by name. Each has users, clients and signing keys of its own and speaks one dialect.", true},
}

var guardOfIssuerKeys = keySet{
	{"key", references, "The key that the guard shows; its upstream has the same. A list while one is replaced: all are good.", true},
	{"realms", words, "The realms that it may follow. Default: all.", false},
}

var realmKeys = keySet{
	{"dialect", aDialect, "What the realm speaks: the name of a dialect, or a path such as ./my.yaml. `jeton dialect list` shows the names.", true},
	{"at", aPrefix, "The prefix of its paths. Default: / and its name.", false},
	{"password", flag(), "Take the password grant, in a realm that speaks oauth2. Default: false.", false},
	{"alg", choice(realmAlgs...), "The algorithm of the signing keys that are made. Default: the dialect's, else ES256.", false},
	{"lifetime", aDuration, "How long an access token lives. Default: the dialect's, else 1h.", false},
	{"refresh_lifetime", aDuration, "How long a refresh token lives. Default: 30d.", false},
	{"rate", object(rateKeys), "How many logins are allowed. Default: as many as the dialect says.", false},
}

// realmAlgs sign the tokens of a realm.
var realmAlgs = []string{"ES256", "EdDSA", "RS256", "HS256"}

var rateKeys = keySet{
	{"username", aRate, "For each user name.", false},
	{"client_id", aRate, "For each client.", false},
	{"ip", aRate, "For each address that they come from.", false},
}

var guardKeys = keySet{
	{"listen", anAddress, "Where the guard listens. Default: 127.0.0.1:8082.", false},
	{"tls", object(tlsKeys), "The certificate of the listener, read again when it changes. Left out: plain HTTP.", false},
	{"metrics", anAddress, "Where /metrics can be asked. Default: nowhere.", false},
	{"trusted_proxies", proxies, "Proxies whose X-Forwarded-For, -Host and -Proto count. Default: nobody's.", false},
	{"upstreams", named(anUpstream()), "The APIs behind the guard, by name.", true},
}

var tlsKeys = keySet{
	{"cert", aPath, "A file with the certificate (PEM).", true},
	{"key", aReference, "Its key.", true},
}

// anUpstream takes the tokens of a realm of the file or of an issuer elsewhere,
// and forwards calls or answers a proxy.
func anUpstream() *schema {
	s := object(slices.Concat(localKeys, upstreamKeys, remoteKeys))
	s.Dependencies = map[string][]string{"from": {"forward_auth"}}
	for _, k := range remoteKeys[1:] {
		s.Dependencies[k.name] = []string{"issuer"}
	}
	s.Dependencies["client_id"], s.Dependencies["client_secret"] = []string{"issuer", "client_secret"}, []string{"issuer", "client_id"}
	s.AllOf = []*schema{oneOfKeys("realm", "issuer"), oneOfKeys("to", "forward_auth")}
	return s
}

// oneOfKeys demands one of some keys.
func oneOfKeys(names ...string) *schema {
	s := new(schema)
	for _, name := range names {
		s.OneOf = append(s.OneOf, &schema{Required: []string{name}})
	}
	return s
}

// localKeys are those of an upstream whose realm is in the same file.
var localKeys = keySet{
	{"realm", text(), "The realm of this file whose tokens open it. Or write issuer.", false},
}

// upstreamKeys are those of every upstream.
var upstreamKeys = keySet{
	{"to", matching(`^(https?|h2c)://[^/?#@]+(/[^?#]*)?$`, "write a URL that begins with http://, https:// or h2c://, without credentials, ? and #", "http://127.0.0.1:3000"),
		"The URL of the API. h2c:// is HTTP/2 without TLS. Or write forward_auth.", false},
	{"forward_auth", choice(forwardAuths...), "The proxy that asks the guard about each call, and forwards it itself.", false},
	{"from", proxies, "From where that proxy may ask. Default: this machine.", false},
	{"at", aPrefix, "The prefix of the calls, which the API does not see. Default: /.", false},
	{"routes", listOf(matching(`^\s*(\*|[A-Z]+)\s+/[^\s]*\s*->\s*[^\s]+\s*$`, "write METHOD PATH -> NEED, where NEED is resource.verb, scope:NAME or token", "GET /orders -> scope:read", "* /orders/{rest...} -> scope:write")),
		"What calls need that the permission table does not name, or names otherwise: METHOD PATH -> resource.verb, scope:NAME or token.", false},
	{"permissions", permissionTable(), "The least scope for each resource and verb. Default: the dialect's table.", false},
	{"graphql", object(graphqlKeys), "The GraphQL endpoint of the API. Left out: it has none.", false},
	{"max_body", aSize, "How large the body of a call may be. Default: as large as it comes.", false},
	{"max_response", aSize, "How large an answer may be. Default: as large as it comes.", false},
	{"timeout", aDuration, "How long the API may neither take a part of the request nor begin its answer. Default: 30s.", false},
	{"idle_timeout", aDuration, "How long an answer may pause. Default: for ever.", false},
	{"call_timeout", aDuration, "How long a call may take from its beginning to its end. Default: as long as it wants.", false},
	{"max_stale", aDuration, "How old the knowledge of what was revoked may be; without newer one nobody gets through. Default: 30s.", false},
	{"show_age", flag(), "Say in each answer how old that knowledge is. Default: false.", false},
}

// remoteKeys are those of an upstream whose tokens an issuer elsewhere gives out.
var remoteKeys = keySet{
	{"issuer", aURL, "The issuer elsewhere whose tokens open it, exactly as its tokens name it: a slash at the end counts. https://, but on this machine.", false},
	{"dialect", aDialect, "How a call wears its token. Default: oauth2, as Authorization: Bearer.", false},
	{"key", aReference, "The key of this guard at a Jeton issuer, to hear what ends before its time. Left out: tokens live until they expire.", false},
	{"client_id", text(), "The client that asks for introspection (RFC 7662). Left out: tokens that are not signed are refused.", false},
	{"client_secret", aReference, "Its secret.", false},
	{"audience", text("https://api.example.com"), "Whom the tokens must be for. Default: the issuer.", false},
	{"algs", listOf(choice(remoteAlgs...)), "The signature algorithms that count. Default: every asymmetric one.", false},
	{"types", listOf(text("at+jwt")), "The values of the header typ that count. Default: at+jwt and JWT.", false},
	{"untyped", flag(), "Take answers of introspection that have no token_type, if they name the audience. Default: false.", false},
	{"leeway", aDuration, "How far apart the clocks may be: 5m at most. Default: not at all.", false},
}

// remoteAlgs sign tokens elsewhere.
var remoteAlgs = []string{"ES256", "ES384", "ES512", "EdDSA", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}

// permissionTable is what dialect.ParsePermissions reads.
func permissionTable() *schema {
	scope := text()
	verbs := object(keySet{
		{"list", scope, "The least scope that may list them.", false},
		{"fetch", scope, "The least scope that may read one.", false},
		{"create", scope, "The least scope that may add one.", false},
		{"update", scope, "The least scope that may change one.", false},
		{"delete", scope, "The least scope that may remove one.", false},
		{"fetch_self", scope, "The least scope that may read the caller's own.", false},
		{"update_self", scope, "The least scope that may change the caller's own.", false},
	})
	return &schema{Type: "object", AdditionalProperties: verbs}
}

var graphqlKeys = keySet{
	{"at", aPrefix, "Its path. Default: /graphql.", false},
	{"schema", aPath, "A file with the API's schema (SDL). Fields below the roots need it.", false},
	{"persisted", aPath, "A JSON file with an object of documents by their SHA-256.", false},
	{"fields", &schema{Type: "object", AdditionalProperties: text("agent", "token")}, "The scope that each field needs, as Type.field; token: any good token; Query.*: those that are not named.", false},
	{"introspection", flag(), "Let __schema and __type through. Default: false.", false},
	{"get", flag(), "Take queries in the URL. Default: false.", false},
	{"limits", object(limitKeys), "How large documents may be.", false},
}

var limitKeys = keySet{
	{"bytes", from(1), "Bytes of the body. Default: 1048576.", false},
	{"tokens", from(1), "Tokens of the documents. Default: 5000.", false},
	{"depth", from(1), "Fields in fields. Default: 15.", false},
	{"complexity", from(1), "Fields, those of a fragment wherever it is used. Default: 2000.", false},
	{"aliases", from(1), "Aliases. Default: 50.", false},
	{"root_fields", from(1), "Fields at the root. Default: 50.", false},
	{"batch", from(1), "Documents in one call. Default: 10.", false},
	{"directives", from(1), "Directives. Default: 50.", false},
}

var brokerKeys = keySet{
	{"listen", anyOf(anAddress, matching(`^unix:.+$`, "write unix:PATH", "unix:/run/jeton/broker.sock")),
		"Where the broker listens: this machine only, or unix:PATH. Default: 127.0.0.1:8081.", false},
	{"mode", &schema{Type: []string{"integer", "string"}, Examples: anys([]string{"0600", "0660"})}, "Who may open a Unix socket, as permissions of the file. Default: 0600.", false},
	{"uids", listOf(from(0)), "The users whose processes may use a Unix socket, on Linux. Default: whoever may open it.", false},
	{"callers", &schema{Type: "object", PropertyNames: aName, AdditionalProperties: object(callerKeys), MinProperties: 1}, "Local programs that may call over TCP, by name. Default: every local program.", false},
	{"accounts", named(account), "The accounts at vendors, by name.", true},
}

var callerKeys = keySet{
	{"key", references, "The key that the program shows. A list while one is replaced: all are good.", true},
	{"accounts", anyOf(choice("all"), &schema{Type: "array", Items: aName}), "The accounts that it may use, or all.", true},
}

// account is an account; its dialect says which further keys it has.
var account = &schema{
	Type: "object", Properties: accountKeys, Required: []string{"dialect"},
	AdditionalProperties: &schema{
		Description: "A variable of the dialect; `jeton dialect show NAME` shows them all. What is secret is a reference, env:NAME or file:PATH, or a list of them that are tried in order.",
		AnyOf:       []*schema{{Type: []string{"string", "number", "boolean"}}, listOf(aReference)},
	},
}

// accountKeys are the keys of an account that are no variables.
var accountKeys = keySet{
	{"dialect", aDialect, "What the vendor speaks: the name of a dialect, or a path such as ./my.yaml. `jeton dialect list` shows the names and what an account gives.", true},
	{"origin", aURL, "Another host in place of the dialect's own, such as a sandbox. A path stands in front of the dialect's.", false},
	{"sinks", &schema{Type: "array", Items: aSink()}, "Places that get a copy of each token.", false},
}

// aSink is one place.
func aSink() *schema {
	s := object(sinkPlaces)
	s.AllOf = []*schema{oneOfKeys(sinkKinds...), {Not: &schema{Required: []string{"vault", "format"}}}}
	return s
}

var sinkPlaces = keySet{
	{"format", choice("json"), "json: the token with what belongs to it. Left out: the token and nothing else.", false},
	{"aws", object(awsKeys), "A secret of AWS Secrets Manager.", false},
	{"file", aPath, "A file, replaced as a whole.", false},
	{"gcp", object(gcpKeys), "A secret of Google Secret Manager.", false},
	{"redis", withCert(object(redisKeys), "cert_key"), "A key of a Redis server.", false},
	{"vault", withCert(object(vaultKeys), "cert_key"), "A secret of Vault or OpenBao.", false},
}

var redisKeys = keySet{
	{"url", matching(`^rediss?://.+$`, "write redis://HOST:PORT/DATABASE, or rediss:// with TLS", "rediss://jeton@cache.example.com:6379/0"), "Which server.", true},
	{"password", aReference, "Its password.", false},
	{"ca", aPath, "A file with the certificates (PEM) that the server's must come from. Left out: the system's.", false},
	{"cert", aPath, "A file with the certificate (PEM) that the server asks for. Goes with cert_key.", false},
	{"cert_key", aReference, "The key of that certificate.", false},
	{"key", matching(`^[^\s]+$`, "a key has no spaces", "tokens/support"), "The key that holds the token.", true},
	{"plain", flag(), "Go without TLS to another machine: the network may see the token. Default: false.", false},
}

var vaultKeys = keySet{
	{"url", matching(`^vault(\+http)?://.+/.+$`, "write vault://HOST/MOUNT/PATH", "vault://ROLE@vault.example.com/secret/apps/support"), "Which server, mount and path.", true},
	{"password", aReference, "The token or the secret with which one logs in.", false},
	{"ca", aPath, "A file with the certificates (PEM) that the server's must come from. Left out: the system's.", false},
	{"cert", aPath, "A file with the certificate (PEM) that the server asks for. Goes with cert_key.", false},
	{"cert_key", aReference, "The key of that certificate.", false},
}

var awsKeys = keySet{
	{"region", matching(validRegion.String(), "write a region such as eu-west-1", "eu-west-1"), "The region of the secret.", true},
	{"secret", matching(validAWS.String(), "write the name or the ARN of a secret"), "The name or the ARN of the secret.", true},
	{"create", flag(), "Make the secret if it is not there. Default: false.", false},
	{"endpoint", aURL, "Another endpoint than the vendor's own. https://, but on this machine.", false},
}

var gcpKeys = keySet{
	{"project", matching(validProject.String(), "write the id of a project"), "The id of the project.", true},
	{"secret", matching(validGCP.String(), "write the id of a secret: letters, digits, dashes and underscores"), "The id of the secret.", true},
	{"create", flag(), "Make the secret if it is not there. Default: false.", false},
	{"keep", between(2, 127), "How many versions stay. Default: all.", false},
	{"endpoint", aURL, "Another endpoint than the vendor's own. https://, but on this machine.", false},
}

// between is a whole number with two bounds.
func between(least, most int) *schema {
	s := from(least)
	s.Maximum = &most
	return s
}

var consoleKeys = keySet{
	{"listen", anAddress, "Where the console listens. Default: 127.0.0.1:8083.", false},
	{"url", matching(`^https?://[^/?#@]+(/[^?#]*)?`+consolePath+`/?$`, "write a URL that ends in "+consolePath+"/", "https://auth.example.com"+consolePath+"/"), "The URL under which browsers find it.", false},
}

var tracesKeys = keySet{
	{"otlp", aURL, "The collector, which speaks OTLP over HTTP; spans go to /v1/traces below it.", true},
	{"headers", mapOf(matching(validHeader.String(), "this is no name of a header"), aReference), "Headers for the collector, as references.", false},
	{"sample", &schema{Type: "number", Minimum: new(0), Maximum: new(1)}, "The part of logins that is traced, from 0 to 1. Default: 1.", false},
	{"propagate", flag(), "Pass traceparent on to vendors. Default: false.", false},
}

// configSchema describes the configuration file.
func configSchema() *schema {
	s := object(configKeys)
	s.Schema, s.ID = draft7, schemaURL("config")
	s.Description = "A Jeton configuration: what one process runs, an issuer, a guard, a broker, a console, any mix of them."
	s.AnyOf = []*schema{{Required: []string{"issuer"}}, {Required: []string{"guard"}}, {Required: []string{"broker"}}}
	s.Dependencies = map[string][]string{"console": {"issuer"}, "traces": {"broker"}}
	return s
}
