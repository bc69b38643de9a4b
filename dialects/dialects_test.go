package dialects_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/textproto"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"bufio"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/dialect"
	"github.com/jetonhq/jeton/dialects"
)

// TestTranscripts holds every dialect against its vendor's own page, in both
// directions: a law alone also holds for a dialect that is wrong in the same
// way on both sides.
func TestTranscripts(t *testing.T) {
	for _, name := range dialects.Names() {
		d, err := dialects.Load(name)
		if err != nil {
			t.Fatal(err)
		}
		src, err := os.ReadFile("testdata/" + name + ".txtar")
		if err != nil {
			t.Fatalf("a dialect without a transcript: %v", err)
		}
		files := map[string]string{}
		var exchanges []string
		for _, f := range txtar.Parse(src).Files {
			exchange, part, _ := strings.Cut(f.Name, ": ")
			if part == "request" {
				exchanges = append(exchanges, exchange)
			}
			files[f.Name] = string(f.Data)
		}
		for _, exchange := range exchanges {
			t.Run(name+"/"+exchange, func(t *testing.T) {
				x := find(t, d, exchange)
				transcript{d, x, vars(files[exchange+": vars"]), vars(files[exchange+": answer vars"]),
					files[exchange+": request"], strings.TrimSpace(files[exchange+": answer"])}.check(t)
			})
		}
	}
}

func find(t *testing.T, d *dialect.Dialect, name string) *dialect.Exchange {
	kind, when, _ := strings.Cut(name, " ")
	switch {
	case kind == "login":
		return d.Login
	case kind == "verify":
		return d.Verify
	case kind == "accept":
		return d.Accept[0]
	}
	for _, x := range d.Refresh {
		if kind == "refresh" && x.When == when {
			return x
		}
	}
	t.Fatalf("the dialect has no exchange %s", name)
	return nil
}

func vars(text string) jeton.Vars {
	v := jeton.Vars{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "="); ok {
			v[name] = value
		}
	}
	return v
}

type transcript struct {
	d             *dialect.Dialect
	x             *dialect.Exchange
	vars, answer  jeton.Vars
	request, wire string
}

func (c transcript) check(t *testing.T) {
	documented, body := c.parse(t)
	origin := &url.URL{Scheme: "https", Host: documented.URL.Host}
	if c.d.Name != "oauth2" {
		origin = nil // the dialect knows its own hosts
	}
	written, err := c.d.WriteRequest(context.Background(), c.x, origin, c.vars)
	if err != nil {
		t.Fatal(err)
	}
	b, _ := io.ReadAll(written.Body)
	written.Header.Del("Accept")
	if diff := cmp.Diff(summary(documented, body), summary(written, b)); diff != "" {
		t.Errorf("the request that is written is not the documented one:\n%s", diff)
	}
	x, read, err := received(c.d.ReadRequest(documented, body))
	if err != nil {
		t.Fatalf("the documented request is not understood: %v", err)
	}
	want := c.vars.Clone()
	if diff := cmp.Diff(want, read); diff != "" || x.Kind != c.x.Kind {
		t.Errorf("the documented request is read as a %s:\n%s", x.Kind, diff)
	}

	w := httptest.NewRecorder()
	if err := c.d.WriteResponse(w, c.x, c.answer); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(document(t, c.wire), document(t, w.Body.String())); diff != "" || w.Code != 200 {
		t.Errorf("the answer that is written is not the documented one: %d\n%s", w.Code, diff)
	}
	got, err := c.d.ReadResponse(c.x, 200, http.Header{}, []byte(c.wire), time.Now())
	if err != nil {
		t.Fatalf("the documented answer is not understood: %v", err)
	}
	if diff := cmp.Diff(c.answer, got); diff != "" {
		t.Errorf("the documented answer is read as:\n%s", diff)
	}
}

func (c transcript) parse(t *testing.T) (*http.Request, []byte) {
	head, body, _ := strings.Cut(c.request, "\n\n")
	first, headers, _ := strings.Cut(head, "\n")
	method, target, _ := strings.Cut(first, " ")
	body = strings.TrimSuffix(body, "\n")
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	h, err := textproto.NewReader(bufio.NewReader(strings.NewReader(strings.TrimSpace(headers) + "\r\n\r\n"))).ReadMIMEHeader()
	if err != nil && headers != "" {
		t.Fatal(err)
	}
	r.Header = http.Header(h)
	return r, []byte(body)
}

// summary is what of a request the vendor looks at.
func summary(r *http.Request, body []byte) map[string]any {
	s := map[string]any{
		"method": r.Method, "host": r.URL.Host, "path": r.URL.EscapedPath(), "query": r.URL.Query(), "headers": r.Header,
	}
	if form, err := url.ParseQuery(string(body)); err == nil && r.Header.Get("Content-Type") == "application/x-www-form-urlencoded" {
		s["form"] = form
	} else if len(body) > 0 {
		var doc any
		_ = json.Unmarshal(body, &doc)
		s["json"] = doc
	}
	if len(r.Header) == 0 {
		s["headers"] = http.Header{}
	}
	return s
}

func document(t *testing.T, text string) any {
	t.Helper()
	var doc any
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	d.UseNumber()
	if err := d.Decode(&doc); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return doc
}

// TestSizes keeps the seeds as short as the vendors' pages: without comments
// and permission tables, a file fits a screen.
func TestSizes(t *testing.T) {
	for _, name := range dialects.Names() {
		src, err := dialects.Source(name)
		if err != nil {
			t.Fatal(err)
		}
		if n := bytes.Count(src, []byte("\n")); n > 35 {
			t.Errorf("%s has %d lines", name, n)
		}
	}
}

func TestUnknownNameIsSuggested(t *testing.T) {
	_, err := dialects.Load("iadvise")
	if err == nil || !strings.Contains(err.Error(), "did you mean iadvize?") {
		t.Errorf("got %v", err)
	}
}

// TestDocumentedDialects parses every dialect that the reference shows.
func TestDocumentedDialects(t *testing.T) {
	page, err := os.ReadFile("../docs/dialects.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(string(page), "```yaml\n")[1:]
	if len(blocks) < 5 {
		t.Fatalf("the reference shows only %d dialects", len(blocks))
	}
	for _, block := range blocks {
		src, _, _ := strings.Cut(block, "```")
		if _, err := dialect.Parse("docs/dialects.md", []byte(src)); err != nil {
			t.Errorf("%v\n%s", err, src)
		}
	}
}

// received is what a request was read as.
func received(m *dialect.Received, err error) (*dialect.Exchange, jeton.Vars, error) {
	if err != nil {
		return nil, nil, err
	}
	return m.Exchange, m.Vars, nil
}
