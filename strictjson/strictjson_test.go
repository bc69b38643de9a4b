package strictjson

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRefuses(t *testing.T) {
	for _, src := range []string{
		"", " ", "{", `{"a":1,}`, "[1,]", `{"a":1}{"b":2}`, `{"a":1} x`, `{"a":1,"a":2}`, `{"x":{"a":1,"a":2}}`,
		`{"a":1,"\u0061":2}`, "\"\xff\"", "nul", "01", strings.Repeat("[", 40) + strings.Repeat("]", 40), strings.Repeat("[", 1<<20),
	} {
		if doc, err := Parse([]byte(src)); err == nil {
			t.Errorf("%.40q was read as %v", src, doc)
		}
	}
	for _, src := range []string{`{"scope":"guest","Scope":"admin"}`, `{"scope":"guest","ſcope":"admin"}`, `{"k":1,"K":2}`, `{"σ":1,"ς":2}`} {
		if _, err := Object([]byte(src)); err == nil {
			t.Errorf("%s: two keys that differ only in case were taken", src)
		}
	}
	if _, err := Object([]byte(`[]`)); err == nil {
		t.Error("a list was taken for an object")
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"a":[1,"x",null,true,{"b":1.5e3}]}`))
	f.Add([]byte(`[1e400,-0,"\ud800"]`))
	f.Add([]byte(" { \"a\\\\\" : [ [ ] , { } , -1E-2 ] , \"\" : \"\\\"]}\" } \n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		doc, err := Parse(b)
		if err != nil {
			return
		}
		d := json.NewDecoder(bytes.NewReader(b))
		d.UseNumber()
		var want any
		if err := d.Decode(&want); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, doc); diff != "" {
			t.Fatal(diff)
		}
		again, err := json.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		back, err := Parse(again)
		if err != nil {
			t.Fatalf("%s: %v", again, err)
		}
		if diff := cmp.Diff(doc, back); diff != "" {
			t.Fatal(diff)
		}
	})
}
