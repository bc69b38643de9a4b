package dialect

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/jetonhq/jeton/yamlnode"
)

// vendor is what the files below extend.
const vendor = `dialect: vendor
vars: {region: eu, db: ~}
token:
  POST: https://$region.vendor.example/token
  headers: {x-db: $db, x-kind: a}
  json: {user: $username, pass: $password, kind: {a: 1, list: [x, y]}}
  returns: {token: $access_token}
call: https://api.vendor.example
verify: https://api.vendor.example/check
lifetime: 8h
rate: {ip: 10/min, username: 5/min}
`

// based answers for the names vendor and deep.
func based(name string) (string, []byte, error) {
	switch name {
	case "vendor":
		return "vendor.yaml", []byte(vendor), nil
	case "deep":
		return "deep.yaml", []byte("dialect: deep\nextend: vendor\n"), nil
	case "broken":
		return "broken.yaml", []byte("dialect: broken\ntokn: /x\n"), nil
	}
	return "", nil, fmt.Errorf("unknown dialect %s%s", yamlnode.Quote(name), yamlnode.Suggest(name, []string{"vendor", "deep"}))
}

// TestExtend compares each file with what one would have written out.
func TestExtend(t *testing.T) {
	const head = "extend: vendor\ndialect: own\n"
	for _, c := range []struct{ name, changes, old, new string }{
		{"nothing", "", "", ""},
		{"a text replaces", "lifetime: 24h\n", "lifetime: 8h", "lifetime: 24h"},
		{"a key is added", "active: 1\n", "lifetime: 8h", "lifetime: 8h\nactive: 1"},
		{"a key goes", "lifetime: ~\n", "lifetime: 8h\n", ""},
		{"a deep key changes", "token: {headers: {x-kind: b}}\n", "x-kind: a", "x-kind: b"},
		{"a deep key goes", "token: {json: {kind: {a: ~}}}\n", "{a: 1, list: [x, y]}", "{list: [x, y]}"},
		{"a list replaces", "token: {json: {kind: {list: [z]}}}\n", "[x, y]", "[z]"},
		{"a mapping replaces a text below the top", "token: {json: {user: {name: $username}}}\n", "user: $username", "user: {name: $username}"},
		{"a text replaces a mapping", "token: {json: {kind: b}}\n", "kind: {a: 1, list: [x, y]}", "kind: b"},
		{"an exchange is replaced by a URL", "token: https://other.example/token\nverify: ~\nvars: {region: eu}\n",
			vendor[strings.Index(vendor, "token:"):strings.Index(vendor, "lifetime")], "token: https://other.example/token\ncall: https://api.vendor.example\n"},
		{"a URL becomes an exchange", "verify: {ok: {good: true}}\n", "verify: https://api.vendor.example/check",
			"verify: {POST: https://api.vendor.example/check, ok: {good: true}}"},
		{"a method replaces another", "verify: {GET: /me}\n", "verify: https://api.vendor.example/check", "verify: {GET: /me}"},
		{"a call has a header more", "call: {headers: {x-db: $db}}\n", "call: https://api.vendor.example\n",
			"call: {base: https://api.vendor.example, headers: {x-db: $db}}\n"},
		{"null is a value under vars", "vars: {region: us, db: prod, other: ~}\n", "{region: eu, db: ~}", "{region: us, db: prod, other: ~}"},
		{"null stays in what is new", "introspect: {GET: /me, returns: {none: ~, sub: $user_id}}\n", "lifetime: 8h",
			"lifetime: 8h\nintrospect: {GET: /me, returns: {none: ~, sub: $user_id}}"},
		{"refresh: none is no URL", "refresh: {POST: https://vendor.example/again, json: {token: $access_token}}\n", "lifetime: 8h",
			"lifetime: 8h\nrefresh: {POST: https://vendor.example/again, json: {token: $access_token}}"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Extend("own.yaml", []byte(head+c.changes), based)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(vendor, c.old) {
				t.Fatal("the test replaces what is not there")
			}
			text := strings.Replace(strings.Replace(vendor, c.old, c.new, 1), "dialect: vendor", "dialect: own", 1)
			want, err := Parse("own.yaml", []byte(text))
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got\n%+v\nwant\n%+v", got, want)
			}
		})
	}
}

// TestExtendNoneByExchange: `refresh: none` is a word, so that an exchange
// takes its place and is not merged into a URL of that name.
func TestExtendNoneByExchange(t *testing.T) {
	base := func(string) (string, []byte, error) {
		return "a.yaml", []byte("dialect: a\ntoken: https://a.example/token\nrefresh: none\n"), nil
	}
	d, err := Extend("own.yaml", []byte("extend: a\ndialect: own\nrefresh: {json: {token: $access_token}}\n"), base)
	if err == nil || !strings.HasPrefix(err.Error(), "own.yaml:3:10: ") || !strings.Contains(err.Error(), "method") {
		t.Errorf("got %v, %v; the exchange has no method", d, err)
	}
}

// TestExtendErrors: each error stands in the file that the text came from.
func TestExtendErrors(t *testing.T) {
	const head = "extend: vendor\ndialect: own\n"
	for _, c := range []struct{ src, want string }{
		{"extend: vendro\ndialect: own\n", `own.yaml:1:9: unknown dialect "vendro"; did you mean vendor?`},
		{"extend: [vendor]\ndialect: own\n", "own.yaml:1:9: extend is to be text, not a list"},
		{"extend: deep\ndialect: own\n", `own.yaml:1:9: "deep" extends "vendor" itself, and that is as deep as it goes; extend "vendor"`},
		{"extend: vendor\nlifetime: 1h\n", "own.yaml:1:1: the key dialect is missing"},
		{"extend: vendor\ndialect: vendor\n", "own.yaml:2:10: a dialect that extends \"vendor\" is to have a name of its own"},
		{"extend: vendor\ndialect: ~\n", "own.yaml:2:10: dialect is to be text"},
		{"extend: broken\ndialect: own\n", "broken.yaml:2:1: unknown key \"tokn\""},
		{head + "lifetme: 1h\n", `own.yaml:3:1: unknown key "lifetme"; did you mean lifetime?`},
		{head + "lifetme: ~\n", `own.yaml:3:1: there is no "lifetme" to take away; did you mean lifetime?`},
		{head + "token:\n  json: {kind: {size: ~}}\n", `own.yaml:4:17: there is no "size" to take away; valid are a, list`},
		{head + "token: {returns: {token: gone}}\n", "own.yaml:3:"},
		{head + "token: {GET: ~}\n", "own.yaml:3:14: GET is to be text, not nothing"},
		{head + "token: {POST: /a, GET: /b}\n", "own.yaml:3:19: the exchange has a method already"},
		{head + "token: {GET: /a, PUT: /b}\n", "own.yaml:3:18: the exchange has a method already"},
		{head + "token: {form: {a: b}}\n", "own.yaml:3:9: the exchange has a body already"},
		{head + "vars: {db: {a: b}}\n", "own.yaml:3:12: a variable is to be its default"},
		{head + "rate: {ip: many}\n", "own.yaml:3:12: a rate is to be"},
		{head + "vars: {region: eu}\nscope: [a]\n", "own.yaml:4:8: scope is to be a mapping"},
		{"- a\n", "own.yaml:1:"},
	} {
		_, err := Extend("own.yaml", []byte(c.src), based)
		if _, ok := errors.AsType[*yamlnode.Error](err); !ok || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%q\n got %v\nwant %s", c.src, err, c.want)
		}
	}
	// What the changes make wrong of the text below them is told where that stands.
	_, err := Extend("own.yaml", []byte(head+"verify: ~\ntoken: {json: ~, form: {user: $usernmae}}\n"), based)
	if err == nil || !strings.HasPrefix(err.Error(), "own.yaml:4:") {
		t.Errorf("got %v", err)
	}
}

// TestExtendShipped: what extends a dialect and changes nothing is that
// dialect under another name, whatever it uses of the language.
func TestExtendShipped(t *testing.T) {
	files, err := filepath.Glob("../dialects/*.yaml")
	if err != nil || len(files) < 5 {
		t.Fatalf("%d dialects, %v", len(files), err)
	}
	for _, file := range files {
		src, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimSuffix(filepath.Base(file), ".yaml")
		base := func(string) (string, []byte, error) { return file, src, nil }
		got, err := Extend("own.yaml", []byte("extend: "+name+"\ndialect: own\n"), base)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		want, err := Parse(file, []byte(strings.Replace(string(src), "dialect: "+name, "dialect: own", 1)))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v\n got %+v\nwant %+v", name, err, got, want)
		}
	}
}

// FuzzExtend: no file makes Extend panic, and an error has a place in one of
// the two files.
func FuzzExtend(f *testing.F) {
	f.Add("lifetime: ~\ntoken: {GET: /x}\n", vendor)
	f.Add("refresh: {GET: }\nvars: {a: ~}\n", "dialect: vendor\ntoken: /token\nrefresh: none\n")
	f.Add("call: {headers: ~}\n", "call: x\n")
	f.Fuzz(func(t *testing.T, changes, below string) {
		base := func(string) (string, []byte, error) { return "vendor.yaml", []byte(below), nil }
		d, err := Extend("own.yaml", []byte("extend: vendor\ndialect: own\n"+changes), base)
		if err == nil {
			if d.Name != "own" {
				t.Errorf("the dialect is called %q", d.Name)
			}
			return
		}
		if e, ok := errors.AsType[*yamlnode.Error](err); !ok || e.File != "own.yaml" && e.File != "vendor.yaml" {
			t.Errorf("an error without a place: %v", err)
		}
	})
}
