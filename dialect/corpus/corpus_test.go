package corpus_test

import (
	"os"
	"strings"
	"testing"

	"github.com/jetonhq/jeton/dialect"
	"github.com/jetonhq/jeton/dialect/corpus"
)

func logins(t *testing.T) []corpus.Entry {
	t.Helper()
	f, err := os.Open("testdata/logins.json")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	entries, err := corpus.Read(f)
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

// TestRun: what can be said passes everything, and what cannot is not passed
// over.
func TestRun(t *testing.T) {
	want := map[string]corpus.Outcome{"unknown-cookie": corpus.NoFact, "unknown-host": corpus.NoFact, "unknown-function": corpus.Unsaid}
	results := corpus.Run(logins(t), 30, 1)
	for _, r := range results {
		o, ok := want[r.Name]
		if !ok {
			o = corpus.Passes
		}
		if r.Outcome != o {
			t.Errorf("%s %s: %s\n%s", r.Name, r.Outcome, strings.Join(r.Why, "\n"), r.Source)
		}
	}
	sum := corpus.Summarize(results)
	if sum.Entries != 11 || sum.Said != 8 || sum.Passes != 8 || sum.Written < 400 || sum.Forged < 400 || sum.Median < 5 || sum.Longest > 20 {
		t.Errorf("%+v", sum)
	}
}

// TestCompareFindsWhatIsLost: a dialect that says something else than the facts
// is found out, wherever it does.
func TestCompareFindsWhatIsLost(t *testing.T) {
	entries := map[string]corpus.Entry{}
	for _, e := range logins(t) {
		entries[e.Name] = e
	}
	for _, c := range []struct{ entry, old, new, want string }{
		{"plain", "token: https://$tenant.plain.test/token", "token: https://$tenant.plain.test/tokens", "step 1: path has another value"},
		{"plain", "token: https://$tenant.plain.test/token", "token: {PUT: https://$tenant.plain.test/token, form: {grant_type: client_credentials, client_id: $client_id, client_secret: $client_secret, scope: $scope}}", "step 1: method has another value"},
		{"plain", "token: https://$tenant.plain.test/token", "token: {POST: https://$tenant.plain.test/token, form: {grant_type: client_credentials, client_id: $client_id, client_secret: $client_secret}}", "step 1: form scope is missing"},
		{"plain", "token: https://$tenant.plain.test/token", "token: {POST: https://$tenant.plain.test/token, basic: $client_id:$client_secret}", "step 1: form client_id is missing"},
		{"plain", `scope: {separator: ","}`, "", "step 1: form scope has another value"},
		{"plain", "headers: {x-key: $client_id}", "headers: {x-key: $client_id, x-more: a}", "a call: header x-more is too many"},
		{"plain", ", headers: {x-key: $client_id}", "", "a call: header x-key is missing"},
		{"plain", "https://api.plain.test/$tenant", "https://api.plain.test", "calls go elsewhere"},
		{"plain", "verify: {GET: /me}", "", "verify is missing"},
		{"plain", "verify: {GET: /me}", "verify: {GET: /you}", "verify goes elsewhere"},
		{"plain", "verify: {GET: /me}", "verify: {GET: /me}\nlifetime: 1m", "the answer: the token is good until"},
		{"nested", "team: ~", "team: x", "step 1: json who.team is too many"},
		{"nested", "team: $team", "team: $password", "step 1: json who.team has another value"},
		{"nested", "remember: false", "remember: true", "step 1: json remember has another value"},
		{"nested", "version: v2", "version: v3", "step 1: path has another value"},
		{"nested", "$date($now(3d))", "$date($now(4d))", "step 1: json until has another value"},
		{"nested", "$ms($expires_in)", "$expires_in", "the answer: the token is good until"},
		{"nested", "token: $access_token, lifeMs", "tokens: $access_token, lifeMs", "the answer: dialect: nested: the answer to a login: data.tokens is missing"},
		{"nested", "accountId: $account_id", "accountId: $account", "the answer: accountId is not kept"},
		{"nested", "headers: {x-token: $access_token}", "bearer: $access_token", "a call: header x-token is missing"},
		{"nested", "token: $refresh_token", "token: $access_token", "the refresh: json token has another value"},
		{"asserted", "iss: $client_id", "iss: $key_id", "step 2: form assertion: the claim iss is missing or has another value"},
		{"asserted", "iss: $client_id", "iss: $client_id, sub: $client_id", "step 2: form assertion: the claim sub is too many"},
		{"asserted", "kid: $key_id", "x5t: $key_id", "step 2: form assertion: the header kid is missing or has another value"},
		{"asserted", "lifetime: 2m", "lifetime: 3m", "step 2: form assertion: is good for 180 seconds and not 120"},
		{"asserted", "alg: ES256", "alg: HS256", "this is a key of a pair"},
		{"asserted", "until: $iso($expires_at)", "at: $iso($expires_at)", "the answer: the token is good until"},
		{"asserted", "$site:$access_token", "$access_token:$site", "a call: header authorization has another value"},
		{"minted", "$created$password", "$password$created", "the token: has another digest"},
		{"minted", "lifetime: 10m", "lifetime: 11m", "the token is good until"},
		{"alternative", "tls:", "#", "step 1: the client certificate is not shown"},
		{"alternative", "host: $short.alternative.test", "host: $short.test", "step 1: host has another value"},
		{"alternative", "accept: application/vnd.test+json", "accept: text/html", "step 1: header accept has another value"},
		{"of-xml", "user: $user", "user: $password", "step 1: xml ask.user has another value"},
		{"of-xml", "until: $expires_at", "till: $expires_at", "the answer: the token is good until"},
		{"every-cookie", "set_cookie: $access_token", "set_cookie: {SESSION: $access_token}", "the answer: not every cookie is kept"},
		{"every-cookie", "sessionKey", "session", "the answer: the token is not at sessionKey"},
		{"signed", "method: HMAC-SHA256", "method: HMAC-SHA1", "a call is signed by OAuth HMAC-SHA1"},
		{"signed", "token: $token_id", "token: $account_id", "a call does not say oauth_token"},
	} {
		e := entries[c.entry]
		whole, err := e.Translate()
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(whole.Source, c.old) {
			t.Errorf("%s: there is no %s in\n%s", c.entry, c.old, whole.Source)
			continue
		}
		d, err := dialect.Parse("d.yaml", []byte(strings.Replace(whole.Source, c.old, c.new, 1)))
		if err != nil {
			t.Errorf("%s with %s: %v", c.entry, c.new, err)
			continue
		}
		if got := strings.Join(e.Compare(d), "\n"); !strings.Contains(got, c.want) {
			t.Errorf("%s with %s: got %q and not %q", c.entry, c.new, got, c.want)
		}
	}
}

// TestReadIsStrict: a fact of a kind that nobody knows is not passed over.
func TestReadIsStrict(t *testing.T) {
	for src, want := range map[string]string{
		`[{"name": "a", "kind": "exchange", "colour": "red"}]`: `unknown field "colour"`,
		`[{"kind": "exchange"}]`:                               "entry 1 has no name or no kind",
		`[] []`:                                                "something after the list",
		`{}`:                                                   "cannot unmarshal object",
	} {
		if _, err := corpus.Read(strings.NewReader(src)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", src, err)
		}
	}
}
