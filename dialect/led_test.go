package dialect_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/dialect"
)

const led = `dialect: x
hosts: [files.example, $region.regional.example]
token:
- GET: https://login.vendor.co.uk/where
  query: {team: $team}
  returns: {url: $place}
- POST: $place/token
  json: {name: $username, password: $password}
  returns: {token: $access_token}
call: $place/v1
`

// TestLed: an answer may lead credentials to the login's own domain and to what
// the dialect lists, and nowhere else, whatever it looks like.
func TestLed(t *testing.T) {
	d, err := dialect.Parse("x.yaml", []byte(led))
	if err != nil {
		t.Fatal(err)
	}
	for place, good := range map[string]bool{
		"https://login.vendor.co.uk":                  true,
		"https://api.eu.vendor.co.uk/base":            true,
		"https://vendor.co.uk":                        true,
		"https://VENDOR.co.uk":                        true,
		"https://files.example":                       true,
		"https://a.files.example:8443":                true,
		"https://r1.regional.example":                 true,
		"api.vendor.co.uk":                            true,
		"https://other.co.uk":                         false, // co.uk is nobody's own
		"https://vendor.co.uk.evil.example":           false,
		"https://evilvendor.co.uk":                    false,
		"https://evil.example/vendor.co.uk":           false,
		"https://evil.example?x=.vendor.co.uk":        false,
		"https://evil.example#.vendor.co.uk":          false,
		"https://login.vendor.co.uk@evil.example":     false,
		"https://r2.regional.example":                 false,
		"http://api.vendor.co.uk":                     false,
		"http://127.0.0.1":                            false,
		"ftp://api.vendor.co.uk":                      false,
		"https://evil.example\\.vendor.co.uk":         false,
		"https://evil.example%2f.vendor.co.uk":        false,
		"https://169.254.169.254":                     false,
		"https://[::1]":                               false,
		"javascript:alert(1)//.vendor.co.uk":          false,
		"https://api.vendor.co.uk\r\nHost: evil.test": false,
	} {
		vars := jeton.Vars{"place": place, "team": "t", "username": "u", "password": "p-secret", "region": "r1"}
		r, err := d.WriteRequest(t.Context(), d.Login, nil, vars)
		_, callErr := d.CallURL(nil, vars)
		if good != (err == nil) || good != (callErr == nil) {
			t.Errorf("%s: %v, %v", place, err, callErr)
		}
		if err == nil && !strings.HasSuffix(r.URL.Path, "/token") {
			t.Errorf("%s: sent to %s", place, r.URL)
		}
		if err != nil && strings.Contains(err.Error(), "evil") {
			t.Errorf("the error shows what the answer held: %v", err)
		}
	}
}

// TestLedByItself: an answer does not widen where it may lead: neither by another
// value for what stands in the host of the login, nor by a part of an address that
// looks like a domain.
func TestLedByItself(t *testing.T) {
	const step = "dialect: x\nhosts: [files.example]\ntoken:\n- POST: https://%s/where\n  json: {name: $username}\n  returns: {host: $host}\n" +
		"- POST: https://%s/token\n  json: {name: $username, password: $password}\n  returns: {token: $access_token}\ncall: https://%s/v1\n"
	for _, c := range []struct {
		first, next string
		host        string
		good        bool
	}{
		{"$host", "$host", "evil.example", false},
		{"$host", "$host", "a.files.example", true},
		{"$host.vendor.example", "$host.vendor.example", "eu", true},
		{"$host.vendor.example", "$host", "b.vendor.example", true},
		{"$host.co.uk", "$host.co.uk", "evil", false},
		{"203.0.113.5", "$host", "203.0.113.5", true},
		{"203.0.113.5", "$host", "9.9.113.5", false},
		{"203.0.113.5", "$host", "a.203.0.113.5", false},
		{"[2001:db8::1]", "$host", "[2001:db8::2]", false},
	} {
		d, err := dialect.Parse("x.yaml", fmt.Appendf(nil, step, c.first, c.next, c.next))
		if err != nil {
			t.Fatal(c.first, err)
		}
		vars := jeton.Vars{"host": c.host, "username": "u", "password": "p-secret"}
		_, err = d.WriteRequest(t.Context(), d.Login, nil, vars)
		_, callErr := d.CallURL(nil, vars)
		if c.good != (err == nil) || c.good != (callErr == nil) {
			t.Errorf("from %s to %s with %s: %v, %v", c.first, c.next, c.host, err, callErr)
		}
	}
}

// TestRefused: what the loader refuses, each with what to do.
func TestRefused(t *testing.T) {
	const post = "dialect: x\ntoken:\n  POST: https://x.example/t\n"
	const ok = "  returns: {t: $access_token}\n"
	for file, want := range map[string]string{
		strings.Replace(led, "hosts: [files.example, $region.regional.example]\n", "", 1):                                                                                            "list where it may lead under hosts",
		strings.Replace(led, "$region.regional", "$place", 1):                                                                                                                        "an answer binds $place",
		post + "  json: {a: $sha256($password)$client_id}\n" + ok:                                                                                                                    "no text between them",
		post + "  json: {a: $base64($username$password)}\n" + ok:                                                                                                                     "$username and $password have no text between them",
		post + "  json: {a: $sha3($password)}\n" + ok:                                                                                                                                "there is no function $sha3; did you mean sha1?",
		post + "  json: {a: $base64($password}\n" + ok:                                                                                                                               "$base64( is not closed",
		post + "  json: {a: $hmac_sha256($password)}\n" + ok:                                                                                                                         "$hmac_sha256 takes 2 arguments, not 1",
		post + "  json: {a: $now(soon)}\n" + ok:                                                                                                                                      "$now takes at most a fixed length of time",
		post + "  form: {a: b}\n  json: {a: b}\n" + ok:                                                                                                                               "has a body already",
		post + "  xml: {a: $username, b: $password}\n" + ok:                                                                                                                          "one element at its root",
		post + "  json: {a: $username}\n  returns: {t: $token}\n":                                                                                                                    "nothing makes $access_token",
		post + "  json: {a: $username}\n  returns_headers: {'x y': $access_token}\n":                                                                                                 "not the name of a header",
		post + "  json: {a: $assertion}\n" + ok + "let: {assertion: {jwt: {iss: $client_id}, alg: RS255, key: $private_key}}\n":                                                      "unknown algorithm; did you mean RS256?",
		post + "  json: {a: $assertion}\n" + ok + "let: {assertion: {jwt: {iss: $client_id}, alg: RS256}}\n":                                                                         "the key named key is missing",
		post + "  json: {a: $a1}\n" + ok + "let: {a1: x$b1, b1: y$a1}\n":                                                                                                             "is made of itself",
		post + "  json: {a: $username}\n" + ok + "params: {usrname: who}\n":                                                                                                          "there is no variable \"usrname\"; did you mean username?",
		post + "  json: {a: $username}\n" + ok + "source: vendor.example\n":                                                                                                          "address of the vendor's page",
		post + "  json: {a: $assertion}\n" + ok + "let: {assertion: {jwt: {iss: $client_id}, alg: RS256, key: $private_key, header: {kid: }}}\n":                                     "kid is to be a text",
		post + "  json: {a: $assertion}\n" + ok + "let: {assertion: {jwt: {iss: $client_id}, alg: RS256, key: $private_key, header: {alg: none}}}\n":                                 "alg stands beside jwt",
		"dialect: x\ntoken:\n  POST: https://x.example/t\n  ok: true\ncall: https://x.example\n":                                                                                     "ok is to be a mapping",
		"dialect: x\ntoken:\n  POST: https://x.example/$grant_type\n  form: {grant_type: password, username: $username, password: $password}\ncall: https://x.example\n":             "which its form has as something else",
		"dialect: x\nlet: {access_token: $client_id.$sha1($nonce$password)}\ncall: https://x.example\n":                                                                              "a digest is made of $nonce(...), which is new each time",
		"dialect: x\nlet: {n: $nonce(), access_token: $client_id.$sha1($n$password)}\ncall: https://x.example\n":                                                                     "a digest is made of $n, which is new each time",
		"dialect: x\nlet: {access_token: $client_id.$nonce}\ncall: https://x.example\n":                                                                                              "nothing in $access_token is secret",
		"dialect: x\ncall: https://x.example\n":                                                                                                                                      "the key token is missing",
		"dialect: x\ncall: {base: https://x.example, headers: {x: $access_token, y: $api_key}}\n":                                                                                    "nothing makes $access_token",
		"dialect: x\ncall: {base: https://x.example, sign: {aws4: {key: $key_id}}}\n":                                                                                                "unknown key \"key\"",
		"dialect: x\ncall: {base: https://x.example, sign: {aws5: {}}}\n":                                                                                                            "there is no signer \"aws5\"; did you mean aws4?",
		"dialect: x\ntoken:\n- GET: https://x.example/a\n  bearer: $access_token\n  returns: {b: $b}\n- POST: https://x.example/b\n  json: {b: $b}\n  returns: {t: $access_token}\n": "step 1 takes $access_token",
	} {
		_, err := dialect.Parse("f.yaml", []byte(file))
		if err == nil {
			t.Errorf("taken, want %s:\n%s", want, file)
		} else if !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "f.yaml:") {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
}
