package dialect

import (
	"errors"
	"slices"
	"strings"
)

// Broken returns the dialect with one thing wrong in it, so that a test can show
// that the laws notice.
func Broken(d *Dialect, way string) *Dialect {
	var parts []*part
	collect := func(p *part, _ bool) { parts = append(parts, p) }
	for _, x := range slices.Concat(d.Steps, []*Exchange{d.Login}, d.Refresh) {
		x.each(collect)
		x.returns.each(collect)
	}
	for _, l := range d.lets {
		l.value.each(collect)
	}
	for _, p := range parts {
		breakPart(p, way)
	}
	return d
}

func breakPart(p *part, way string) {
	if p.fn == nil {
		if way == "a fixed text is not demanded" && p.text == "client_credentials" {
			*p = part{fn: lenient(p.text), args: []value{{part{text: p.text}}}}
		}
		return
	}
	f := *p.fn
	switch {
	case way == "a codec loses a character" && f.name == "base64":
		f.decode = func(s string) (string, error) {
			text, err := functions["base64"].decode(s)
			return text[:max(0, len(text)-1)], err
		}
	case way == "a codec ignores case" && f.name == "hex":
		f.encode = func(s string) (string, error) { return functions["hex"].encode(strings.ToLower(s)) }
	case way == "a codec shows what it cannot write" && f.name == "base64":
		f.encode = func(s string) (string, error) { return "", errors.New("cannot write " + s) }
	case way == "a codec cannot write" && f.name == "base64":
		f.encode = func(string) (string, error) { return "", errors.New("cannot write") }
	case way == "a time codec is off by one" && f.name == "ms":
		f.decode = func(s string) (string, error) {
			text, err := functions["ms"].decode(s)
			return text + "0", err
		}
	case way == "a digest ignores its key" && f.name == "hmac_sha256":
		f.digest = func(args []string) ([]byte, error) { return functions["sha256"].digest(args[1:]) }
	case way == "a digest is always the same" && f.name == "hmac_sha256":
		f.digest = func([]string) ([]byte, error) { return []byte("digest"), nil }
	}
	p.fn = &f
}

// lenient writes a text and takes any other for it.
func lenient(text string) *function {
	return &function{
		name: "lenient", kind: isCodec, least: 1, most: 1,
		encode: func(s string) (string, error) { return s, nil },
		decode: func(string) (string, error) { return text, nil },
	}
}
