package dialect

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/strictjson"
)

// An AnswerField is one place of an answer, as the dialect has it and as it came.
type AnswerField struct {
	Place string // "access_token", "data.token", "header x-auth", "cookie sid", "body"
	Want  string // as the dialect has it: "$access_token", "Bearer"; empty: the dialect has nothing there
	Got   string // what came, without showing it where it may be secret; empty: nothing came
	Fits  bool   // what came can be read as the dialect says
	Fixed bool   // the dialect has fixed text there, which a client does not look at
}

// Sent lays a request beside what the dialect says of it, place by place, as
// [Dialect.Understand] does with an answer. What is made anew for each request,
// such as a nonce, is not the one of any request that was sent.
func (d *Dialect) Sent(x *Exchange, vars jeton.Vars) ([]AnswerField, error) {
	e, err := d.env(vars, time.Now())
	if err != nil {
		return nil, fmt.Errorf("dialect: %s: write the %s request: %w", d.Name, x.Kind, err)
	}
	var list []AnswerField
	add := func(place, want string, v value) {
		f := AnswerField{Place: place, Want: want, Fixed: !v.variable()}
		if text, err := v.fill(e); err == nil {
			f.Got, f.Fits = shown(text, d.shows(v) && !d.madeOf(v)), true
		}
		list = append(list, f)
	}
	eachPlace(x, func(place string, v value) {
		switch {
		case strings.HasPrefix(place, "path ") && !v.variable(): // as the URL shows
		case place == "header authorization" && x.basic != nil:
			add(place, "Basic "+x.basic.user.String()+":"+x.basic.password.String(), v)
		case place == "header authorization" && x.bearer != nil:
			add(place, "Bearer "+v.String(), v)
		default:
			add(place, v.String(), v)
		}
	})
	return list, nil
}

// madeOf reports whether something secret goes into the value without being read
// back from it: it holds a digest, or a let.
func (d *Dialect) madeOf(v value) bool {
	found := false
	v.each(func(p *part, digested bool) { found = found || digested || p.hole != "" && d.let(p.hole) != nil })
	return found
}

// Understand lays an answer beside what the dialect says of it, for somebody who
// writes a dialect: first what the dialect has, in its order, then what else
// came. No value is shown that may be secret: of a text its length is, and of a
// number that fills a variable that is not public; other numbers are, and truth
// values.
func (d *Dialect) Understand(x *Exchange, status int, header http.Header, body []byte) []AnswerField {
	if status > 299 && status != x.status {
		return d.refused(body)
	}
	var list []AnswerField
	for _, f := range x.returnsHeaders {
		list = append(list, d.field("header "+f.name, f.value, header.Get(f.name)))
	}
	for _, f := range x.setCookie {
		got := ""
		for _, c := range (&http.Response{Header: header}).Cookies() {
			if c.Name == f.name {
				got = c.Value
			}
		}
		list = append(list, d.field("cookie "+f.name, f.value, got))
	}
	if x.returns != nil && x.returns.kind == treeText {
		return append(list, d.field("body", x.returns.value, strings.TrimSpace(string(body))))
	}
	t := x.returns
	var doc any
	var err error
	if x.returnsXML != nil {
		t = x.returnsXML
		doc, err = parseXML(body)
	} else {
		doc, err = strictjson.Parse(body)
	}
	if err != nil {
		return append(list, AnswerField{Place: "body", Want: "a document", Got: fmt.Sprintf("(no document in %s: %v)", counted(len(body), "byte"), err)})
	}
	seen := map[string]bool{}
	for _, o := range []*tree{t, x.ok} {
		o.understood("", doc, func(place string, t *tree, got any) {
			if !seen[place] {
				seen[place] = true
				list = append(list, d.leaf(place, t, got))
			}
		})
	}
	return append(list, beside(doc, seen, nil)...)
}

// refused lays a refusal out. Its code is shown if it is one of the RFC's.
func (d *Dialect) refused(body []byte) []AnswerField {
	doc, err := strictjson.Parse(body)
	if err != nil {
		return []AnswerField{{Place: "body", Got: "(" + counted(len(body), "byte") + ")"}}
	}
	code, known := errorCode(doc)
	return beside(doc, nil, func(place string) bool { return known && place == "error" && code != "" })
}

// beside returns what came beside what was seen, in the order of its places.
func beside(doc any, seen map[string]bool, public func(place string) bool) []AnswerField {
	var rest []AnswerField
	leaves("", doc, func(place string, got any) {
		if !seen[place] {
			rest = append(rest, AnswerField{Place: place, Got: shown(got, public != nil && public(place))})
		}
	})
	slices.SortFunc(rest, func(a, b AnswerField) int { return strings.Compare(a.Place, b.Place) })
	return rest
}

func (d *Dialect) field(place string, v value, got string) AnswerField {
	f := AnswerField{Place: place, Want: v.String(), Fixed: !v.variable()}
	if got != "" {
		into := newBound()
		f.Got, f.Fits = shown(got, d.shows(v)), v.read(got, into) && into.timely()
	}
	return f
}

func (d *Dialect) leaf(place string, t *tree, got any) AnswerField {
	f := AnswerField{Place: place, Want: t.raw, Fixed: t.kind == treeLiteral || !t.value.variable()}
	if t.kind == treeText {
		f.Want = t.value.String()
	}
	if got == nil {
		return f
	}
	fits := 0
	public := t.kind == treeLiteral || d.shows(t.value)
	f.Got = shown(got, public)
	if n, ok := got.(json.Number); ok && !public {
		f.Got = "(number of " + counted(len(n), "character") + ")"
	}
	into := newBound()
	f.Fits = t.read(got, "", reading{optional: func(string) bool { return true }}, into, &fits) == nil && into.timely()
	return f
}

// timely reports whether what says when a token ends can be told from what was
// bound. A client goes on without, and knows of no end.
func (b *bound) timely() bool {
	for name, text := range b.vars {
		switch name {
		case "expires_in", "refresh_expires_in":
			if n, err := strconv.ParseFloat(text, 64); err != nil || n < 0 {
				return false
			}
		case "expires_at", "refresh_expires_at":
			if _, err := parseInstant(text); err != nil {
				return false
			}
		}
	}
	return true
}

// shows reports whether everything that stands for the value is public.
func (d *Dialect) shows(v value) bool {
	for _, hole := range v.holes() {
		if !d.Public(hole) && hole != "expires_at" && hole != "refresh_expires_in" {
			return false
		}
	}
	return true
}

// shown is a value, or its form where it may be secret.
func shown(got any, public bool) string {
	switch got := got.(type) {
	case string:
		if public && len(got) <= 200 {
			return got
		}
		return "(text of " + counted(utf8.RuneCountInString(got), "character") + ")"
	case json.Number, bool:
		return fmt.Sprint(got)
	case nil:
		return "null"
	case []any:
		return fmt.Sprintf("(list of %d)", len(got))
	}
	return "(object)"
}

// counted says how many there are.
func counted(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

// understood calls f for every leaf of the template, with what stands there.
func (t *tree) understood(place string, doc any, f func(place string, t *tree, got any)) {
	switch {
	case t == nil:
	case t.kind == treeObject:
		object, _ := doc.(map[string]any)
		for i, key := range t.keys {
			t.kids[i].understood(join(place, key), object[key], f)
		}
	case t.kind == treeList:
		list, _ := doc.([]any)
		for i, kid := range t.kids {
			var item any
			if i < len(list) {
				item = list[i]
			}
			kid.understood(fmt.Sprintf("%s[%d]", place, i), item, f)
		}
	default:
		f(name(place), t, doc)
	}
}

// leaves calls f for every text, number and truth value of a document.
func leaves(place string, doc any, f func(place string, got any)) {
	switch doc := doc.(type) {
	case map[string]any:
		for key, inner := range doc {
			leaves(join(place, key), inner, f)
		}
	case []any:
		for i, inner := range doc {
			leaves(fmt.Sprintf("%s[%d]", place, i), inner, f)
		}
	default:
		f(name(place), doc)
	}
}
