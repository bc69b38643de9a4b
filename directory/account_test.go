package directory

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/audit"
	"github.com/jetonhq/jeton/store"
)

// holder adds a client with an account.
func holder(t *testing.T, d *Directory, id string, vars jeton.Vars) {
	t.Helper()
	_, _, err := d.AddClient(t.Context(), "root", Client{ID: id, Name: id}, jeton.Secret{})
	must(t, err)
	must(t, d.SetAccount(t.Context(), "root", "", id, vars))
}

func (d *Directory) mustFind(t *testing.T, vars jeton.Vars) []string {
	t.Helper()
	ids, err := d.FindAccounts(t.Context(), vars)
	must(t, err)
	return ids
}

func TestFindAccounts(t *testing.T) {
	d := desk(t, nil, nil, Settings{})
	holder(t, d, "one", jeton.Vars{"company": "acme", "user": "ann", "api_key": "é&=+%\"\\:/"})
	holder(t, d, "two", jeton.Vars{"company": "acme", "user": "bob", "api_key": "k2"})
	for _, c := range []struct {
		vars jeton.Vars
		want string
	}{
		{jeton.Vars{"company": "acme"}, "[one two]"},
		{jeton.Vars{"company": "acme", "user": "ann"}, "[one]"},
		{jeton.Vars{"api_key": "é&=+%\"\\:/"}, "[one]"},
		{jeton.Vars{"company": "acme", "user": "eve"}, "[]"},
		{jeton.Vars{"user": "ann", "api_key": "k2"}, "[]"},
		{jeton.Vars{"user": "acme"}, "[]"}, // of another name
		{jeton.Vars{}, "[]"},
	} {
		ids := d.mustFind(t, c.vars)
		slices.Sort(ids)
		if fmt.Sprint(ids) != c.want {
			t.Errorf("%v: got %v, want %s", c.vars, ids, c.want)
		}
	}
}

// The index follows whatever becomes of the client.
func TestAccountIndex(t *testing.T) {
	st := store.NewMemory()
	d := desk(t, st, nil, Settings{})
	holder(t, d, "one", jeton.Vars{"user": "ann", "api_key": "k1"})
	must(t, d.SetAccount(t.Context(), "root", "", "one", jeton.Vars{"user": "ann", "api_key": "k2"}))
	if ids := d.mustFind(t, jeton.Vars{"api_key": "k1"}); len(ids) > 0 {
		t.Error("found by what it no longer has")
	}
	if ids := d.mustFind(t, jeton.Vars{"api_key": "k2", "user": "ann"}); len(ids) != 1 {
		t.Error("not found by what it has")
	}
	must(t, d.SetClientDisabled(t.Context(), "root", "", "one", true))
	if c, vars, err := d.Account(t.Context(), "one"); err != nil || !c.Disabled || vars["api_key"] != "k2" {
		t.Error(c, err)
	}
	must(t, d.SetAccount(t.Context(), "root", "", "one", nil))
	if _, _, err := d.Account(t.Context(), "one"); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	must(t, d.SetAccount(t.Context(), "root", "", "one", jeton.Vars{"user": "ann"}))
	must(t, d.RemoveClient(t.Context(), "root", "", "one"))
	for _, line := range dump(t, st) {
		if strings.HasPrefix(line, "realm/test/account/") {
			t.Error("the index still has", line)
		}
	}
}

// An account shows nowhere but where it is asked for: not in what says who the
// client is, not in the audit log, not in the keys of records.
func TestAccountIsSecret(t *testing.T) {
	st, log := store.NewMemory(), audit.NewMemory()
	d := desk(t, st, log, Settings{})
	holder(t, d, "one", jeton.Vars{"user": "canary-user", "private_key": "canary-key"})
	c, err := d.Client(t.Context(), "", "one")
	must(t, err)
	list, err := d.Clients(t.Context(), "", "", 10)
	must(t, err)
	said, err := json.Marshal([]any{c, list})
	must(t, err)
	entries, err := log.List(t.Context(), audit.Query{Limit: 100})
	must(t, err)
	shown := fmt.Sprintf("%s %+v %#v %v", said, c, c, entries)
	for _, r := range dump(t, st) {
		key, _, _ := strings.Cut(r, " ")
		shown += key
	}
	if strings.Contains(shown, "canary") {
		t.Error("an account is shown")
	}
	_, vars, err := d.Account(t.Context(), "one")
	must(t, err)
	if vars["private_key"] != "canary-key" {
		t.Error("the account does not say what was put in")
	}
}

// A new account ends the tokens that were made with the one before it.
func TestAccountEndsTokens(t *testing.T) {
	d := desk(t, nil, nil, Settings{})
	holder(t, d, "one", jeton.Vars{"user": "ann"})
	before, err := d.Generation(t.Context(), "client", "one")
	must(t, err)
	c, _, err := d.Account(t.Context(), "one")
	must(t, err)
	must(t, d.SetAccount(t.Context(), "root", "", "one", jeton.Vars{"user": "ann"}))
	after, err := d.Generation(t.Context(), "client", "one")
	must(t, err)
	now, err := d.Client(t.Context(), "", "one")
	must(t, err)
	if after != before+1 || !c.Changed(now) || d.Opaque(c, "x") == d.Opaque(now, "x") {
		t.Error("the old account is as good as the new one")
	}
}

// What is not written down does not happen.
func TestAccountIsAuditedFirst(t *testing.T) {
	st := store.NewMemory()
	d := desk(t, st, nil, Settings{})
	holder(t, d, "one", jeton.Vars{"user": "ann"})
	d.log = failing{}
	before := dump(t, st)
	if err := d.SetAccount(t.Context(), "root", "", "one", jeton.Vars{"user": "bob"}); err == nil {
		t.Error("done without a log")
	}
	if after := dump(t, st); !slices.Equal(before, after) {
		t.Error("something changed")
	}
}

type failing struct{ audit.Log }

func (failing) Append(context.Context, audit.Entry) error { return errors.New("the disk is full") }

func TestAccountRefuses(t *testing.T) {
	d := desk(t, nil, nil, Settings{})
	holder(t, d, "one", jeton.Vars{"user": "ann"})
	many := jeton.Vars{}
	for n := range 100 {
		many["v"+strconv.Itoa(n)] = "x"
	}
	for name, vars := range map[string]jeton.Vars{
		"no name": {"": "x"}, "no variable": {"User": "x"}, "empty": {"user": ""}, "not UTF-8": {"user": "\xff"},
		"long": {"user": strings.Repeat("x", 1<<17)}, "many": many,
	} {
		if err := d.SetAccount(t.Context(), "root", "", "one", vars); !errors.Is(err, jeton.InvalidRequest) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := d.SetAccount(t.Context(), "root", "", "nobody", jeton.Vars{"user": "x"}); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	if ids := d.mustFind(t, jeton.Vars{"user": "ann"}); len(ids) != 1 {
		t.Error("a refusal changed something")
	}
}

// What too many share is passed over, and what tells them apart still finds one.
func TestSharedValue(t *testing.T) {
	d := desk(t, nil, nil, Settings{})
	for n := range MaxAccounts + 3 {
		holder(t, d, "c"+strconv.Itoa(n), jeton.Vars{"company": "acme", "user": "u" + strconv.Itoa(n)})
	}
	if ids := d.mustFind(t, jeton.Vars{"company": "acme"}); len(ids) != 0 {
		t.Errorf("%d found", len(ids))
	}
	if ids := d.mustFind(t, jeton.Vars{"company": "acme", "user": "u7"}); fmt.Sprint(ids) != "[c7]" {
		t.Error(ids)
	}
}
