package dialect

import (
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/jetonhq/jeton"
)

func TestParseXML(t *testing.T) {
	type m = map[string]any
	tests := map[string]struct {
		text string
		want any
	}{
		"text":             {`<token>abc</token>`, m{"token": "abc"}},
		"nothing":          {`<token/>`, m{"token": ""}},
		"nothing, long":    {`<token></token>`, m{"token": ""}},
		"space":            {`<token> </token>`, m{"token": " "}},
		"children":         {"<a>\n  <b>1</b>\n  <c>2</c>\n</a>\n", m{"a": m{"b": "1", "c": "2"}}},
		"the same child":   {`<a><b>1</b><c/><b>2</b><b><d>3</d></b></a>`, m{"a": m{"b": []any{"1", "2", m{"d": "3"}}, "c": ""}}},
		"attributes":       {`<a x="1" y='2'/>`, m{"a": m{"@x": "1", "@y": "2"}}},
		"text, attribute":  {`<a x="1"> t </a>`, m{"a": m{"@x": "1", "#text": " t "}}},
		"space, attribute": {`<a x="1"> </a>`, m{"a": m{"@x": "1", "#text": " "}}},
		"mixed":            {`<a>s<b/>t</a>`, m{"a": m{"b": "", "#text": "st"}}},
		"entities":         {`<a x="&quot;&apos;">&lt;&gt;&amp;&#xe9;&#9;</a>`, m{"a": m{"@x": `"'`, "#text": "<>&é\t"}}},
		"CDATA":            {`<a>1<![CDATA[<&]]>2</a>`, m{"a": "1<&2"}},
		"comment":          {`<!-- 1 --><a>user<!-- 2 -->name</a><!-- 3 -->`, m{"a": "username"}},
		"declaration":      {`<?xml version="1.0" encoding="utf-8" standalone="yes"?>` + "\n<a/>", m{"a": ""}},
		"byte order mark":  {"\ufeff<?xml version=\"1.0\"?><a/>", m{"a": ""}},
		"line ends":        {"<a>1\r\n2\r3</a>", m{"a": "1\n2\n3"}},
		"prefixes": {`<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><r xmlns="urn:v"><t:k>1</t:k></r></s:Body></s:Envelope>`,
			m{"s:Envelope": m{"@xmlns:s": "http://schemas.xmlsoap.org/soap/envelope/",
				"s:Body": m{"r": m{"@xmlns": "urn:v", "t:k": "1"}}}}},
		"depth":           {strings.Repeat("<a>", 32) + strings.Repeat("</a>", 32), deep(32)},
		"two prefixes":    {`<a><x:b/><y:b/><b/></a>`, m{"a": m{"x:b": "", "y:b": "", "b": ""}}},
		"unwritten names": {`<é_1-2.3/>`, m{"é_1-2.3": ""}},
	}
	for name, test := range tests {
		got, err := parseXML([]byte(test.text))
		if err != nil || !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: %v, %v; want %v", name, got, err, test.want)
		}
	}
}

func deep(levels int) any {
	if levels == 0 {
		return ""
	}
	return map[string]any{"a": deep(levels - 1)}
}

// TestParseXMLRefuses looks also at what the error says: nothing of the text.
func TestParseXMLRefuses(t *testing.T) {
	const mark = "S3CRET"
	laughs := `<!DOCTYPE a [<!ENTITY l0 "` + mark + `">`
	for i := range 9 {
		laughs += fmt.Sprintf(`<!ENTITY l%d "%s">`, i+1, strings.Repeat(fmt.Sprintf("&l%d;", i), 10))
	}
	tests := map[string]string{
		"nothing":                    "",
		"space":                      " \n",
		"text":                       mark,
		"JSON":                       `{"token":"` + mark + `"}`,
		"billion laughs":             laughs + `]><a>&l9;</a>`,
		"an external entity":         `<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>`,
		"an external DTD":            `<!DOCTYPE a SYSTEM "http://` + mark + `.example/a.dtd"><a/>`,
		"a DTD alone":                `<!DOCTYPE a><a/>`,
		"a DTD inside":               `<a><!DOCTYPE a></a>`,
		"an unknown entity":          `<a>&nbsp;</a>`,
		"an entity without end":      `<a>&amp</a>`,
		"a bare ampersand":           `<a>` + mark + ` & co</a>`,
		"an entity in an attribute":  `<a x="&x;"/>`,
		"an attribute twice":         `<a x="` + mark + `" x="2"/>`,
		"a prefixed attribute twice": `<a p:x="1" p:x="2"/>`,
		"xmlns twice":                `<a xmlns="1" xmlns="2"/>`,
		"an attribute without value": `<a x/>`,
		"an attribute unquoted":      `<a x=1/>`,
		"an attribute with <":        `<a x="<"/>`,
		"]]> in text":                `<a>]]></a>`,
		"an instruction before":      `<?php echo 1 ?><a/>`,
		"an instruction inside":      `<a><?go ` + mark + `?></a>`,
		"an instruction behind":      `<a/><?go?>`,
		"a declaration inside":       `<a><?xml version="1.0"?></a>`,
		"a declaration behind space": ` <?xml version="1.0"?><a/>`,
		"two declarations":           `<?xml version="1.0"?><?xml version="1.0"?><a/>`,
		"another encoding":           `<?xml version="1.0" encoding="ISO-8859-1"?><a/>`,
		"another version":            `<?xml version="1.1"?><a/>`,
		"UTF-16":                     "\xff\xfe<\x00a\x00/\x00>\x00",
		"not UTF-8":                  "<a>\xff</a>",
		"not UTF-8 in a comment":     "<!-- \xff --><a/>",
		"a control character":        "<a>\x00</a>",
		"one in an attribute":        "<a x='\x1b'/>",
		"one as a reference":         "<a>&#0;</a>",
		"two roots":                  `<a/><b/>`,
		"text before":                mark + `<a/>`,
		"text behind":                `<a/>` + mark,
		"no end":                     `<a><b>` + mark + `</b>`,
		"half a start":               `<a`,
		"another end":                `<a>` + mark + `</b>`,
		"ends crossed":               `<a><b></a></b>`,
		"an end of another prefix":   `<p:a></q:a>`,
		"an end alone":               `</a>`,
		"an end too many":            `<a/></a>`,
		"a name with a digit first":  `<1a/>`,
		"a name of two colons":       `<a:b:c/>`,
		"a name of a colon":          `<:a/>`,
		"an attribute of a colon":    `<a x:="1"/>`,
		"too deep":                   strings.Repeat("<a>", 33) + strings.Repeat("</a>", 33),
		"far too deep":               strings.Repeat("<a>", 1_000_000),
		"too many elements":          "<a>" + strings.Repeat("<b/>", 10_000) + "</a>",
		"too many attributes":        "<a>" + strings.Repeat(`<b x="" y=""/>`, 4_000) + "</a>",
	}
	for name, text := range tests {
		got, err := parseXML([]byte(text))
		if err == nil || got != nil {
			t.Errorf("%s: read as %v", name, got)
			continue
		}
		if strings.Contains(err.Error(), mark) {
			t.Errorf("%s: the error shows the text: %v", name, err)
		}
	}
}

// hostile is text that does harm where it is not escaped.
var hostile = rapid.OneOf(
	rapid.SampledFrom([]string{"", " ", "&", "&amp;", "<", "</a>", ">", "]]>", "<![CDATA[", "<!--", "-->", "<?xml?>", `"`, "'", `" x="1`,
		"\r", "\r\n", "\n", "\t", " a ", "\u00a0", "\ufeff", "\ufffd", "é", "\U0001F511", "&#0;", "%", "\\", "\u2028", "\u0085", "\x7f"}),
	rapid.StringOf(rapid.SampledFrom([]rune("ab&<>\"' \t\n\r]é;#x0"))),
	rapid.StringOf(rapid.Rune().Filter(func(r rune) bool { return !notXML(r) && (r < 0xD800 || r > 0xDFFF) })),
)

// drawElem draws an element whose children of one name stand side by side or
// not; the reading does not keep that.
func drawElem(t *rapid.T, depth int) xmlElem {
	names := rapid.SampledFrom([]string{"a", "b", "s:Body", "é", "_x-1.y", "token"})
	e := xmlElem{name: names.Draw(t, "name"), text: hostile.Draw(t, "text")}
	for _, name := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"x", "xmlns", "xmlns:s", "s:y"}), 0, 3, rapid.ID).Draw(t, "attributes") {
		e.attrs = append(e.attrs, [2]string{name, hostile.Draw(t, "value")})
	}
	if depth < 4 {
		for range rapid.IntRange(0, 3).Draw(t, "children") {
			e.kids = append(e.kids, drawElem(t, depth+1))
		}
	}
	return e
}

// tree is what [parseXML] is to read from the element.
func (e xmlElem) tree() any {
	if len(e.attrs) == 0 && len(e.kids) == 0 {
		return e.text
	}
	object := map[string]any{}
	for _, a := range e.attrs {
		object["@"+a[0]] = a[1]
	}
	if len(e.kids) > 0 && strings.Trim(e.text, " \t\r\n") != "" || len(e.kids) == 0 && e.text != "" {
		object["#text"] = e.text
	}
	for _, kid := range e.kids {
		switch before := object[kid.name].(type) {
		case nil:
			object[kid.name] = kid.tree()
		case []any:
			object[kid.name] = append(before, kid.tree())
		default:
			object[kid.name] = []any{before, kid.tree()}
		}
	}
	return object
}

// TestXMLRoundTrip is the law: what was written is read again, whatever text
// stands in it, with a declaration or without.
func TestXMLRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := drawElem(t, 1)
		b, err := e.append([]byte(rapid.SampledFrom([]string{"", `<?xml version="1.0" encoding="UTF-8"?>`, "\ufeff"}).Draw(t, "front")))
		if err != nil {
			t.Fatal(err)
		}
		got, err := parseXML(b)
		if want := any(map[string]any{e.name: e.tree()}); err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("%q: %v\n got %q\nwant %q", b, err, got, want)
		}
	})
}

// TestXMLBytes has the order and the form of what is written.
func TestXMLBytes(t *testing.T) {
	e := xmlElem{name: "s:Envelope", attrs: [][2]string{{"xmlns:s", "urn:s"}, {"a", "<\"'&\t\n>"}}, kids: []xmlElem{
		{name: "z", text: "p&s<w>\"'é\n"}, {name: "a"}, {name: "z", text: "]]>"}}}
	want := `<s:Envelope xmlns:s="urn:s" a="&lt;&quot;'&amp;&#x9;&#xA;&gt;"><z>p&amp;s&lt;w&gt;"'é` + "\n" + `</z><a/><z>]]&gt;</z></s:Envelope>`
	got, err := e.append(nil)
	if err != nil || string(got) != want {
		t.Errorf("%v\n got %s\nwant %s", err, got, want)
	}
}

func TestXMLAppendRefuses(t *testing.T) {
	const mark = "S3CRET"
	for name, e := range map[string]xmlElem{
		"NUL":                   {name: "a", text: mark + "\x00"},
		"escape":                {name: "a", text: "\x1b" + mark},
		"a control in a value":  {name: "a", attrs: [][2]string{{"x", mark + "\x08"}}},
		"one further down":      {name: "a", kids: []xmlElem{{name: "b", text: mark + "\x1f"}}},
		"not a character":       {name: "a", text: mark + "\uffff"},
		"not UTF-8":             {name: "a", text: mark + "\xff"},
		"a surrogate":           {name: "a", text: mark + "\xed\xa0\x80"},
		"no name":               {text: mark},
		"a name with a blank":   {name: "a b", text: mark},
		"a name with markup":    {name: "a><b", text: mark},
		"a name with two parts": {name: "a:b:c", text: mark},
		"a name of a prefix":    {name: "a:", text: mark},
		"an attribute's name":   {name: "a", attrs: [][2]string{{`x="" y`, mark}}},
		"an attribute twice":    {name: "a", attrs: [][2]string{{"x", mark}, {"x", mark}}},
	} {
		b, err := e.append(nil)
		if err == nil || b != nil {
			t.Errorf("%s: written as %q", name, b)
			continue
		}
		if strings.Contains(err.Error(), mark) {
			t.Errorf("%s: the error shows the text: %v", name, err)
		}
	}
}

// FuzzParseXML looks for a document that breaks the reader or its bounds.
func FuzzParseXML(f *testing.F) {
	f.Add(`<?xml version="1.0"?><a x="1">t<b/><b>2</b></a>`)
	f.Add(`<s:E xmlns:s="u"><s:B>&lt;<![CDATA[x]]></s:B></s:E>`)
	f.Add(`<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>`)
	f.Fuzz(func(t *testing.T, text string) {
		doc, err := parseXML([]byte(text))
		if err != nil {
			return
		}
		root, ok := doc.(map[string]any)
		if !ok || len(root) != 1 {
			t.Fatalf("%q: the document is %v", text, doc)
		}
		for name, value := range root {
			if !isXMLName(name) || xmlLevels(value) > maxXMLDepth {
				t.Fatalf("%q: root %q of %d levels", text, name, xmlLevels(value))
			}
		}
	})
}

// xmlLevels counts the levels of elements in what was read.
func xmlLevels(v any) int {
	most := 0
	switch v := v.(type) {
	case map[string]any:
		for name, kid := range v {
			if name[0] != '@' && name[0] != '#' {
				most = max(most, xmlLevels(kid))
			}
		}
	case []any:
		for _, kid := range v {
			most = max(most, xmlLevels(kid)-1)
		}
	}
	return most + 1
}

// TestXMLTrees: what a template writes it reads back, also where an element is
// repeated once, has nothing but text, or lacks its attribute.
func TestXMLTrees(t *testing.T) {
	for _, src := range []string{
		"{r: {item: [{id: $client_id}]}}", "{r: {'#text': $client_id}}", "{r: {'@id': $scope, '#text': $client_id}}", "{r: {a: {'@id': $client_id}, b: x}}",
	} {
		file := "dialect: x\ntoken:\n  POST: https://x.example/t\n  xml: " + src + "\n  returns: {t: $access_token}\ncall: https://x.example\n"
		d, err := Parse("x.yaml", []byte(file))
		if err != nil {
			t.Fatal(err)
		}
		r, err := d.WriteRequest(t.Context(), d.Login, nil, jeton.Vars{"client_id": "c"})
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(r.Body)
		m, err := d.ReadRequest(r, body)
		if err != nil || m.Vars["client_id"] != "c" {
			t.Errorf("%s: %s is read as %v, %v", src, body, m, err)
		}
	}
}
