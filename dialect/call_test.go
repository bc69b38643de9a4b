package dialect_test

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/dialect"
)

// TestWriteCallReplaces: no credential of the caller's own goes along with the
// account's, in whatever spelling a server may take for the same name.
func TestWriteCallReplaces(t *testing.T) {
	d, err := dialect.Parse("f.yaml", []byte(`dialect: x
token: https://x.example/oauth/token
call:
  base: https://api.x.example/v1
  query: {key: $access_token}
  headers: {X-Api-Key: $client_id}
`))
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest("GET", "/x?a=1&key=mine&%6bey=mine&b=%20;key=mine&c;d=2&keys=kept", nil)
	for _, name := range []string{"Authorization", "X_Api_Key", "x.api.key", "X-Api-Key"} {
		r.Header[name] = []string{"mine"}
	}
	r.Header.Set("X-Api-Keys", "kept")
	if err := d.WriteCall(r, jeton.Vars{"access_token": "token", "client_id": "id"}); err != nil {
		t.Fatal(err)
	}
	if got, want := r.URL.RawQuery, "a=1&c;d=2&keys=kept&key=token"; got != want {
		t.Errorf("the query is %s, not %s", got, want)
	}
	for name, values := range r.Header {
		if text := strings.Join(values, ","); strings.Contains(text, "mine") {
			t.Errorf("%s: %s went along", name, text)
		}
	}
	if r.Header.Get("X-Api-Key") != "id" || r.Header.Get("X-Api-Keys") != "kept" {
		t.Errorf("the headers are %v", r.Header)
	}
}

// TestWorn: what is worked out once is written into each call anew, and shows
// no token.
func TestWorn(t *testing.T) {
	d, err := dialect.Parse("f.yaml", []byte(`dialect: x
token: https://x.example/oauth/token
call:
  base: https://api.x.example/v1
  query: {key: $access_token}
  headers: {X-Api-Key: $client_id}
`))
	if err != nil {
		t.Fatal(err)
	}
	w, err := d.Wear(jeton.Vars{"access_token": "token", "client_id": "id"})
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest("GET", "/x?a=1", nil)
	for range 3 {
		for _, name := range []string{"x-api_key", "X-Äpi-Key", "X-Api-Ke", "AUTHORIZATION"} {
			r.Header[name] = []string{"mine"}
		}
		w.Write(r)
		var names []string
		for name := range r.Header {
			names = append(names, name)
		}
		slices.Sort(names)
		if r.URL.RawQuery != "a=1&key=token" || r.Header.Get("X-Api-Key") != "id" || strings.Join(names, " ") != "X-Api-Ke X-Api-Key X-Äpi-Key" {
			t.Fatalf("%s %v", r.URL.RawQuery, r.Header)
		}
		r.Header["X-Api-Key"][0] = "changed" // of this call only
	}
	for _, text := range []string{fmt.Sprint(w), fmt.Sprintf("%v %+v %#v %s", w, w, w, w)} {
		if strings.Contains(text, "token") {
			t.Errorf("shows the token: %s", text)
		}
	}
}

// wearings are dialects that wear the token in every way that the language has.
var wearings = []string{
	"call: https://api.x.example/v1",
	"call: {base: https://api.x.example, bearer: x-$access_token-y}",
	"call: {base: https://api.x.example, headers: {X-Api-Key: $client_id}}",
	"call: {base: https://api.x.example, headers: {X-Token: $access_token}}",
	"call: {base: https://api.x.example, headers: {Authorization: Token $access_token}}",
	"call: {base: https://api.x.example, query: {key: $access_token, v: 2}}",
	"call: {base: https://api.x.example, basic: '$client_id:$access_token'}",
	"call: {base: https://api.x.example, accept: [{headers: {X-Token: $access_token}}, {query: {t: $access_token}}]}",
	"call: {base: https://api.x.example, headers: {X-Api-Key: $client_id}, accept: [{headers: {authorization: $access_token}}]}",
}

func wearing(t testing.TB, call string) *dialect.Dialect {
	t.Helper()
	d, err := dialect.Parse("f.yaml", []byte("dialect: x\ntoken: https://x.example/token\n"+call+"\n"))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// code returns what a refusal is; of several descriptions that fit any will do.
func code(err error) string {
	if e, ok := errors.AsType[*jeton.Error](err); ok {
		return string(e.Code)
	}
	return fmt.Sprint(err)
}

// FuzzBearer: the fast way to the token finds and refuses what ReadCall does.
func FuzzBearer(f *testing.F) {
	for _, a := range []string{"", "Bearer t", "bearer  t", "BEARER t,t", "Bearer t t", "Bearer", "Bearer ", "Bearer\tt", "Bearer t\t", "Bearer \xff",
		"Basic YTpi", "t", "Token t", "Bearer x-t-y", " Bearer t"} {
		f.Add(a, "", "", "")
		f.Add(a, "Bearer t", "k", "key=t&t=t")
		f.Add(a, "", "k", "t=%zz")
	}
	var all []*dialect.Dialect
	for _, call := range wearings {
		all = append(all, wearing(f, call))
	}
	f.Fuzz(func(t *testing.T, authorization, second, key, query string) {
		r := &http.Request{Method: "GET", URL: &url.URL{Path: "/", RawQuery: query}, Header: http.Header{}}
		for name, values := range map[string][]string{"Authorization": {authorization, second}, "X-Api-Key": {key}, "X-Token": {key, second}} {
			for _, value := range values {
				if value != "" {
					r.Header.Add(name, value)
				}
			}
		}
		for i, d := range all {
			vars, want := d.ReadCall(r)
			token, others, got := d.Bearer(r)
			if got == nil && others == nil && strings.Trim(token.Reveal(), bearerBytes) != "" {
				continue // all of it is looked at by ReadCall only
			}
			switch {
			case code(got) != code(want):
				t.Fatalf("%s: error %v, ReadCall has %v", wearings[i], got, want)
			case got == nil && token.Reveal() != vars["access_token"]:
				t.Fatalf("%s: another token than ReadCall finds", wearings[i])
			case got == nil && others == nil && len(vars) != 1, got == nil && others != nil && !maps.Equal(others, vars):
				t.Fatalf("%s: %v goes with the token, ReadCall has %v", wearings[i], others, vars)
			}
		}
	})
}

// bearerBytes are those of b64token (RFC 6750 section 2.1).
const bearerBytes = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/="

// A token that is malformed in one way is not saved by a good one in another.
func TestMalformedAndGood(t *testing.T) {
	d := wearing(t, wearings[7])
	for _, worn := range []http.Header{
		{"Authorization": {"Bearer a,b"}},
		{"Authorization": {"Bearer a", "Bearer a"}},
		{"Authorization": {"Bearer a"}, "X-Token": {"a", "b"}},
	} {
		r := httptest.NewRequest("GET", "/x?t=good", nil)
		r.Header = worn
		if _, _, err := d.Bearer(r); !errors.Is(err, jeton.InvalidRequest) {
			t.Errorf("%v: %v, want invalid_request", worn, err)
		}
	}
}

// The plain case costs no allocation, whatever the length of the token.
func TestBearerAllocates(t *testing.T) {
	d := wearing(t, wearings[0])
	r := httptest.NewRequest("GET", "/x?a=b", nil)
	r.Header.Set("Authorization", "Bearer "+strings.Repeat("x", 2000))
	if n := testing.AllocsPerRun(100, func() {
		if token, _, err := d.Bearer(r); err != nil || token.IsZero() {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// What a receiver could read as a credential of the query is taken out in each
// way of wearing it, and nothing else is.
func TestStripQuery(t *testing.T) {
	d := wearing(t, "call: {base: https://api.x.example, query: {key: $access_token, v: 2}, accept: [{query: {t: $access_token}}]}")
	for query, want := range map[string]string{
		"":                              "",
		"a=1&key=x&v=2&b":               "a=1&v=2&b",
		"key=x":                         "",
		"t=x&t=y&T=1":                   "T=1",
		"a=1;key=x&%6bey=x&b=%zz&keys=": "b=%zz&keys=",
	} {
		if got := d.Call.StripQuery(query); got != want {
			t.Errorf("%q: %q, want %q", query, got, want)
		}
	}
	if got := d.Call.Headers(); !slices.Equal(got, []string{"Authorization"}) {
		t.Errorf("headers %v", got)
	}
	both := wearing(t, wearings[7])
	if got := both.Call.Headers(); !slices.Equal(got, []string{"Authorization", "X-Token"}) {
		t.Errorf("headers %v: one that another way wears is missing", got)
	}
	signed := wearing(t, "call: {base: https://api.x.example, query: {key: $access_token, sum: $sha256($access_token), v: 2}}")
	if got := signed.Call.StripQuery("a=1&key=x&sum=y&v=2"); got != "a=1&v=2" {
		t.Errorf("%q: what proves the call goes on", got)
	}
	aws4 := wearing(t, "call: {base: https://api.x.example, headers: {x-token: $access_token}, sign: {aws4: {key_id: $key_id, secret: $secret, region: r, service: s, session: $session}}}")
	if got := aws4.Call.Headers(); !slices.Contains(got, "X-Amz-Security-Token") {
		t.Errorf("headers %v: the session of temporary credentials is missing", got)
	}
}
