package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"

	"github.com/jetonhq/jeton/yamlnode"
)

// TestSchemasAreCommitted: the files that editors fetch are those that this
// program prints.
func TestSchemasAreCommitted(t *testing.T) {
	for _, s := range schemas {
		want, err := s.schema().text()
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile("../../schema/" + s.name + ".json")
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("schema/%s.json is not up to date (%v); run: go run ./cmd/jeton schema %s -o schema/%s.json", s.name, err, s.name, s.name)
		}
	}
}

// TestSchemasExplain: every key of every mapping has a description, which is
// one or more sentences.
func TestSchemasExplain(t *testing.T) {
	for _, s := range schemas {
		n := 0
		var walk func(at string, s *schema)
		walk = func(at string, s *schema) {
			for _, k := range s.Properties {
				n++
				if about := firstOf(k.about, k.is.Description); len(about) < 5 || !strings.HasSuffix(about, ".") {
					t.Errorf("%s.%s has no description: %q", at, k.name, about)
				}
				walk(at+"."+k.name, k.is)
			}
			for _, k := range s.Definitions {
				walk(k.name, k.is)
			}
			more, _ := s.AdditionalProperties.(*schema)
			for _, below := range slices.Concat([]*schema{s.Items, more, s.Then, s.Else}, s.AnyOf, s.OneOf, s.AllOf) {
				if below != nil {
					walk(at, below)
				}
			}
		}
		walk(s.name, s.schema())
		if n < 80 {
			t.Errorf("only %d keys of the %s were found", n, s.name)
		}
	}
}

// validator compiles a schema with a validator of JSON Schema that is not ours.
func validator(t *testing.T, s *schema) *jsonschema.Schema {
	t.Helper()
	text, err := s.text()
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource(s.ID, doc); err != nil {
		t.Fatal(err)
	}
	v, err := c.Compile(s.ID)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// plain returns what stands under a key as an editor has it: what JSON can say.
func plain(key string, n yamlnode.Node) any {
	switch n.Kind {
	case yamlnode.Map:
		m := map[string]any{}
		for _, p := range n.Pairs {
			m[p.Key.Text] = plain(p.Key.Text, p.Value)
		}
		return m
	case yamlnode.List:
		list := []any{}
		for _, item := range n.Items {
			// As in the parser: within braces the decoder takes file:x for a mapping.
			if key != "sinks" && len(item.Pairs) == 1 && (item.Pairs[0].Key.Text == "file" || item.Pairs[0].Key.Text == "env") {
				item = yamlnode.Node{Kind: yamlnode.Text, Text: item.Pairs[0].Key.Text + ":" + item.Pairs[0].Value.Text}
			}
			list = append(list, plain("", item))
		}
		return list
	case yamlnode.Number:
		if json.Valid([]byte(n.Text)) {
			return json.Number(n.Text)
		}
	case yamlnode.Bool:
		return n.Text == "true"
	case yamlnode.Null:
		return nil
	}
	return n.Text
}

func document(t *testing.T, file string, src []byte) any {
	t.Helper()
	root, err := yamlnode.ParseUpTo(maxConfig, file, memoryColon.ReplaceAll(src, []byte("$1 $2")))
	if err != nil {
		t.Fatal(err)
	}
	return plain("", root)
}

// blocks returns what a page shows as YAML, documents one by one.
func blocks(t *testing.T, page string) (list [][]byte) {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	for _, block := range strings.Split(string(text), "```yaml\n")[1:] {
		src, rest, _ := strings.Cut(block, "```")
		if strings.HasPrefix(rest, "\n\n```text\nmy.yaml:") {
			continue // shown with the message that refuses it
		}
		for _, doc := range strings.Split(src, "---\n") {
			list = append(list, []byte(doc))
		}
	}
	return list
}

// TestSchemaTakesDocumentedConfigs: every configuration that a page shows is
// good for an editor too.
func TestSchemaTakesDocumentedConfigs(t *testing.T) {
	v := validator(t, configSchema())
	pages, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, page := range append(pages, "../../README.md") {
		for _, src := range blocks(t, page) {
			first, _, _ := bytes.Cut(src, []byte(":"))
			if !slices.Contains(configKeys.names(), string(first)) {
				continue
			}
			found++
			doc := document(t, page, src).(map[string]any)
			whole(doc)
			if err := v.Validate(doc); err != nil {
				t.Errorf("%s: %v\n%s", page, err, src)
			}
		}
	}
	if found < 15 {
		t.Errorf("only %d configurations were found", found)
	}
}

// whole adds what a part of a configuration on a page leaves out.
func whole(doc map[string]any) {
	if len(doc) > 0 && doc["issuer"] == nil && doc["guard"] == nil && doc["broker"] == nil {
		doc["broker"] = map[string]any{}
	}
	if b, ok := doc["broker"].(map[string]any); ok && b["accounts"] == nil {
		b["accounts"] = map[string]any{}
	}
}

// fullBroker and fullIssuer have each key of a configuration at least once.
const fullBroker = `
store: {url: "rediss://jeton@a,b:6379/0?prefix=x", password: env:P, ca: ca.pem, cert: c.pem, key: file:c.key}
seal: [file:seal.key, env:OLD]
broker:
  listen: unix:b.sock
  mode: "0660"
  uids: [1001]
  callers:
    worker: {key: [file:/run/secrets/a, file:/run/secrets/b], accounts: [support]}
    operator: {key: env:K, accounts: all}
  accounts:
    support:
      dialect: iadvize
      origin: https://sandbox.example.com/x
      username: env:USER
      password: [file:/run/secrets/new, file:/run/secrets/old]
      sinks:
      - {file: x.json, format: json}
      - redis: {url: "rediss://cache.example.com", password: env:P, ca: ca.pem, cert: c.pem, cert_key: file:c.key, key: a, plain: false}
      - vault: {url: "vault://r@vault.example.com/secret/a", password: env:P, ca: ca.pem, cert: c.pem, cert_key: file:c.key}
      - aws: {region: eu-west-1, secret: prod/a, create: true, endpoint: "https://vpce.example.com"}
      - gcp: {project: acme, secret: a, create: true, keep: 3, endpoint: "https://gcp.example.com"}
traces: {otlp: "https://otlp.example.com", headers: {authorization: env:T}, sample: 0.5, propagate: true}
`

const fullIssuer = `
store: {url: "postgres://jeton@db/jeton"}
seal: file:seal.key
dialects: own
issuer:
  listen: 127.0.0.1:8080
  url: https://auth.example.com
  trusted_proxies: [10.0.0.0/8, "::1"]
  guards: {edge: {key: file:edge.key, realms: [support]}}
  realms:
    support: {dialect: oauth2, at: /support, password: true, alg: EdDSA, lifetime: 24h, refresh_lifetime: 30d, rate: {username: 10/min, client_id: 5/h, ip: 100/day}}
    chat: {dialect: web1on1}
guard:
  listen: 127.0.0.1:8082
  tls: {cert: x.pem, key: file:x.key}
  metrics: 127.0.0.1:8084
  trusted_proxies: [10.0.0.1]
  upstreams:
    chat:
      realm: chat
      to: h2c://127.0.0.1:3000
      at: /chat
      routes: ["GET /v2/reports/{tenant} -> conversations.list", "* /x/{rest...} -> token"]
      permissions: {conversations: {list: agent, fetch: agent, create: agent, update: agent, delete: agent}, users: {fetch_self: guest, update_self: guest}}
      graphql: {at: /graphql, schema: schema.graphql, persisted: p.json, fields: {Query.users: agent}, introspection: false, get: true, limits: {bytes: 1, tokens: 2, depth: 3, complexity: 4, aliases: 5, root_fields: 6, batch: 7, directives: 8}}
      max_body: 10MiB
      max_response: 1000
      timeout: 10s
      idle_timeout: 1m30s
      call_timeout: 1h
      max_stale: 20s
      show_age: true
    edge: {issuer: "https://auth.example.com/x", dialect: oauth2, key: env:K, client_id: a, client_secret: env:S, audience: "https://api.example.com", algs: [ES256], types: [at+jwt], untyped: true, leeway: 10s, forward_auth: nginx, from: [10.1.0.0/16]}
console: {listen: 127.0.0.1:8083, url: "https://auth.example.com/console/"}
`

// onlyTheParser are the mistakes that need more than one place, or another file,
// to see, so that an editor does not tell them.
var onlyTheParser = regexp.MustCompile(`^(` + strings.Join([]string{
	`remove /seal`,                                                    // some stores need one
	`remove /issuer/realms/[a-z]+`, `remove /broker/accounts/support`, // somebody names it
	`set /guard/upstreams/chat/realm to string`, `set /issuer/guards/edge/realms/0 to string`,
	`remove /broker/listen`, // mode goes with a socket
	`(set|remove) /broker/mode.*`,
	`remove /guard/upstreams/[a-z]+/at`, // two would stand at one place
	`set .*/dialect to string`, `set .*/(schema|persisted|dialects) to string`,
	`(add to|set|remove) /broker/accounts/support(/username|/password)?( to .*)?`,  // the dialect says which there are
	`(add to|set|remove) /guard/upstreams/chat/(permissions|graphql/fields)(/.*)?`, // so it does of resources and scopes
}, "|") + `)$`)

// onlyTheEditor is what the parser takes though it means nothing.
var onlyTheEditor = regexp.MustCompile(`^set (.*/permissions/[a-z]+/[a-z_]+|/vars/[a-z]+(/[0-9])?|/issue/access_token/typ|.*/oauth1/method) to .*$`)

// TestSchemaIsTheParser changes good configurations in every place: what an
// editor underlines the parser refuses, and, but for a few mistakes that need
// more than one place to see, what the parser refuses an editor underlines.
func TestSchemaIsTheParser(t *testing.T) {
	v := validator(t, configSchema())
	dir := t.TempDir()
	for name, text := range map[string]string{"schema.graphql": "type Query { users: [String] }\n", "p.json": "{}\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "own"), 0o700); err != nil {
		t.Fatal(err)
	}
	parse := func(src []byte) error {
		_, err := parseConfig("jeton.yaml", dir, src)
		return err
	}
	seen := map[string]bool{}
	for _, src := range []string{fullBroker, fullIssuer} {
		doc := document(t, "everything", []byte(src))
		agree(t, v, doc, parse, onlyTheParser)
		used(configSchema(), configSchema(), doc, "", seen)
	}
	allSeen(t, configSchema(), seen)
}

// allSeen demands that documents had every key of a schema.
func allSeen(t *testing.T, root *schema, seen map[string]bool) {
	t.Helper()
	n := 0
	var walk func(at string, s *schema)
	walk = func(at string, s *schema) {
		for _, k := range s.Properties {
			if n++; !seen[at+"/"+k.name] {
				t.Errorf("no document of this test has %s/%s", at, k.name)
			}
			walk(at+"/"+k.name, k.is)
		}
		for _, below := range s.below() {
			walk(at+"/*", below)
		}
		for _, other := range s.AnyOf {
			walk(at, other)
		}
	}
	if root.Else != nil {
		walk("", root.Else)
	}
	walk("", root)
	for _, k := range root.Definitions {
		if !strings.HasPrefix(k.name, "changed_") && k.name != "refresh" { // they have the keys of the others
			walk(k.name, k.is)
		}
	}
	if n < 90 {
		t.Errorf("only %d keys were found", n)
	}
}

// below returns what the items or the values with names of one's own are.
func (s *schema) below() (list []*schema) {
	if more, ok := s.AdditionalProperties.(*schema); ok {
		list = append(list, more)
	}
	if s.Items != nil {
		list = append(list, s.Items)
	}
	return list
}

// used notes which keys of a schema a document has, by their path from the root
// or from the definition that they are in.
func used(root, s *schema, doc any, at string, seen map[string]bool) {
	if name, ok := strings.CutPrefix(s.Ref, "#/definitions/"); ok {
		s, at = root.Definitions[slices.Index(root.Definitions.names(), name)].is, name
	}
	if s.Else != nil {
		used(root, s.Else, doc, at, seen)
	}
	for _, other := range s.AnyOf {
		used(root, other, doc, at, seen)
	}
	switch doc := doc.(type) {
	case map[string]any:
		for name, value := range doc {
			if i := slices.Index(s.Properties.names(), name); i >= 0 {
				seen[at+"/"+name] = true
				used(root, s.Properties[i].is, value, at+"/"+name, seen)
				continue
			}
			for _, below := range s.below() {
				used(root, below, value, at+"/*", seen)
			}
		}
	case []any:
		for _, item := range doc {
			for _, below := range s.below() {
				used(root, below, item, at+"/*", seen)
			}
		}
	}
}

// agree changes a good document in every place and compares what the validator
// and the parser say. The validator may miss the mistakes of a list.
func agree(t *testing.T, v *jsonschema.Schema, doc any, parse func([]byte) error, missed *regexp.Regexp) {
	t.Helper()
	refused := 0
	try := func(what string) {
		invalid, wrong := v.Validate(doc), parse(marshal(t, doc))
		switch {
		case invalid != nil && wrong == nil && !onlyTheEditor.MatchString(what):
			t.Errorf("%s: an editor underlines what is good: %v", what, invalid)
		case invalid == nil && wrong != nil && !missed.MatchString(what):
			t.Errorf("%s: an editor sees nothing of: %v", what, wrong)
		case invalid != nil:
			refused++
		}
	}
	try("nothing")
	if refused > 0 {
		t.Fatalf("the document is not good: %v", v.Validate(doc))
	}
	var walk func(at string, get func() any, set func(any))
	walk = func(at string, get func() any, set func(any)) {
		was := get()
		for _, other := range []any{map[string]any{"zz-zz": "zz zz"}, []any{[]any{}}, json.Number("123456789"), "zz zz", true, nil} {
			if fmt.Sprintf("%T", other) == fmt.Sprintf("%T", was) {
				if _, isText := was.(string); !isText {
					continue
				}
			}
			set(other)
			try(fmt.Sprintf("set %s to %T", at, other))
		}
		set(was)
		switch was := was.(type) {
		case map[string]any:
			was["zz zz"] = "zz"
			try("add to " + at)
			_, listed, _ := strings.Cut(fmt.Sprint(parse(marshal(t, doc))), `unknown key "zz zz"; valid are `)
			delete(was, "zz zz")
			for _, name := range strings.Split(listed, ", ") {
				if _, there := was[name]; !there && listed != "" {
					was[name] = "zz"
					if unknown(v.Validate(doc), name) {
						t.Errorf("add to %s: an editor does not know the key %s", at, name)
					}
					delete(was, name)
				}
			}
			for _, name := range slices.Sorted(maps.Keys(was)) {
				value := was[name]
				delete(was, name)
				try("remove " + at + "/" + name)
				was[name] = value
				walk(at+"/"+name, func() any { return was[name] }, func(v any) { was[name] = v })
			}
		case []any:
			for i := range was {
				walk(fmt.Sprintf("%s/%d", at, i), func() any { return was[i] }, func(v any) { was[i] = v })
			}
		}
	}
	walk("", func() any { return doc }, func(v any) { doc = v })
	if refused < 20 {
		t.Errorf("only %d changes were refused", refused)
	}
}

func marshal(t *testing.T, doc any) []byte {
	t.Helper()
	src, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	return src
}

// unknown reports whether a validator finds a key that a mapping may not have.
func unknown(err error, name string) bool {
	e, ok := err.(*jsonschema.ValidationError)
	if !ok {
		return false
	}
	if k, ok := e.ErrorKind.(*kind.AdditionalProperties); ok && slices.Contains(k.Properties, name) {
		return true
	}
	return slices.ContainsFunc(e.Causes, func(c *jsonschema.ValidationError) bool { return unknown(c, name) })
}

// TestSchemaOfScriptedConfigs: whatever configuration of the scripts the parser
// takes, an editor takes.
func TestSchemaOfScriptedConfigs(t *testing.T) {
	v := validator(t, configSchema())
	scripts, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	good := 0
	for _, script := range scripts {
		archive, err := txtar.ParseFile(script)
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		for _, f := range archive.Files {
			if err := os.WriteFile(filepath.Join(dir, filepath.Base(f.Name)), f.Data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		for _, f := range archive.Files {
			src := []byte(os.Expand(string(f.Data), func(name string) string {
				return map[string]string{"ISSUER": "127.0.0.1:8080", "GUARD": "127.0.0.1:8082", "BROKER": "127.0.0.1:8081"}[name]
			}))
			if _, err := parseConfig(f.Name, dir, src); err != nil {
				continue
			}
			good++
			if err := v.Validate(document(t, f.Name, src)); err != nil {
				t.Errorf("%s: %s: %v", script, f.Name, err)
			}
		}
	}
	if good < 30 {
		t.Errorf("only %d good configurations were found", good)
	}
}

// TestSchemaUnderlines: a typical mistake is found where it stands.
func TestSchemaUnderlines(t *testing.T) {
	for _, c := range []struct {
		schema  *schema
		at, src string
	}{
		{configSchema(), "/issuer", "issuer: {listn: 127.0.0.1:80, realms: {}}"},
		{configSchema(), "/issuer/realms/a", "issuer: {realms: {a: {dialect: oauth2, lifetme: 1h}}}"},
		{configSchema(), "/issuer/realms/a/alg", "issuer: {realms: {a: {dialect: oauth2, alg: HS265}}}"},
		{configSchema(), "/issuer/realms/a/lifetime", "issuer: {realms: {a: {dialect: oauth2, lifetime: 60}}}"},
		{configSchema(), "/issuer/realms/a/lifetime", "issuer: {realms: {a: {dialect: oauth2, lifetime: one day}}}"},
		{configSchema(), "/issuer/realms/a/rate/ip", "issuer: {realms: {a: {dialect: oauth2, rate: {ip: 10 per minute}}}}"},
		{configSchema(), "/issuer/realms/a", "issuer: {realms: {a: {at: /a}}}"},
		{configSchema(), "/issuer/listen", "issuer: {listen: 8080, realms: {}}"},
		{configSchema(), "/seal", "seal: secret\nbroker: {accounts: {}}"},
		{configSchema(), "/store", "store: mysql://db\nbroker: {accounts: {}}"},
		{configSchema(), "/store", "store: redis://:hunter2@db\nbroker: {accounts: {}}"},
		{configSchema(), "/broker/accounts/a/sinks/0", "broker: {accounts: {a: {dialect: x, sinks: [{s3: b}]}}}"},
		{configSchema(), "/broker/accounts/a/sinks/0", "broker: {accounts: {a: {dialect: x, sinks: [{file: a, aws: {region: eu-west-1, secret: b}}]}}}"},
		{configSchema(), "/guard/upstreams/a", "guard: {upstreams: {a: {realm: a, issuer: 'https://a.example', to: 'https://b.example'}}}"},
		{configSchema(), "/guard/upstreams/a/forward_auth", "guard: {upstreams: {a: {realm: a, forward_auth: nginks}}}"},
		{configSchema(), "/guard/upstreams/a/routes/0", "guard: {upstreams: {a: {realm: a, to: 'https://b.example', routes: [GET /x]}}}"},
		{configSchema(), "/guard/upstreams/a/max_body", "guard: {upstreams: {a: {realm: a, to: 'https://b.example', max_body: 10MB}}}"},
		{configSchema(), "", "console: {}\nbroker: {accounts: {}}"},
		{configSchema(), "", "store: memory"},

		{dialectSchema(), "", "dialect: a\ntokn: /token"},
		{dialectSchema(), "", "dialect: a"},
		{dialectSchema(), "/dialect", "dialect: My Vendor\ntoken: /token"},
		{dialectSchema(), "/token", "dialect: a\ntoken: {POST: /token, from: {a: b}}"},
		{dialectSchema(), "/token", "dialect: a\ntoken: {form: {a: b}}"},
		{dialectSchema(), "/token", "dialect: a\ntoken: {POST: /a, GET: /b}"},
		{dialectSchema(), "/token", "dialect: a\ntoken: {POST: /a, form: {a: b}, json: {a: b}}"},
		{dialectSchema(), "/token", "dialect: a\ntoken: auth.example.com/token"},
		{dialectSchema(), "/token", "dialect: a\ntoken: https://a.example/token?grant=x"},
		{dialectSchema(), "/token/form/user", "dialect: a\ntoken: {POST: /a, form: {user: $Username}}"},
		{dialectSchema(), "/token/form/user", "dialect: a\ntoken: {POST: /a, form: {user: [a]}}"},
		{dialectSchema(), "/token/basic", "dialect: a\ntoken: {POST: /a, basic: $username}"},
		{dialectSchema(), "/refresh/when", "dialect: a\ntoken: /a\nrefresh: {when: always, GET: }"},
		{dialectSchema(), "/lifetime", "dialect: a\ntoken: /a\nlifetime: 3600"},
		{dialectSchema(), "/active", "dialect: a\ntoken: /a\nactive: 2"},
		{dialectSchema(), "/rate/ip", "dialect: a\ntoken: /a\nrate: {ip: 10}"},
		{dialectSchema(), "/errors", "dialect: a\ntoken: /a\nerrors: {invalid_tokn: 403}"},
		{dialectSchema(), "/errors/invalid_token", "dialect: a\ntoken: /a\nerrors: {invalid_token: 43}"},
		{dialectSchema(), "/permissions/users", "dialect: a\ntoken: /a\npermissions: {users: {lisst: bot}}"},
		{dialectSchema(), "/let/assertion", "dialect: a\ntoken: /a\nlet: {assertion: {jwt: {}, algo: RS256}}"},
		{dialectSchema(), "/call/sign/aws4", "dialect: a\ncall: {base: /, sign: {aws4: {key: $key_id}}}"},
		{dialectSchema(), "", "dialect: a\nextend: b\ntokn: ~"},
		{dialectSchema(), "/token", "dialect: a\nextend: b\ntoken: {from: ~}"},
		{dialectSchema(), "", "extend: b\ntoken: ~"},
	} {
		err := validator(t, c.schema).Validate(document(t, "src", []byte(c.src)))
		wrong, ok := err.(*jsonschema.ValidationError)
		if !ok || !slices.Contains(places(wrong), c.at) {
			t.Errorf("%s\n got %v\nwant an error at %q", c.src, err, c.at)
		}
	}
}

// places returns where a validator sees something wrong.
func places(e *jsonschema.ValidationError) (list []string) {
	at := ""
	for _, name := range e.InstanceLocation {
		at += "/" + name
	}
	if len(e.Causes) == 0 {
		return []string{at}
	}
	for _, cause := range e.Causes {
		list = append(list, places(cause)...)
	}
	return list
}
