package dialect

import (
	"slices"
	"strings"

	"github.com/jetonhq/jeton/yamlnode"
)

// Extend reads a dialect file that may say `extend: NAME` and then only what
// differs from the dialect of that name, whose file base returns. Without that
// key it is [Parse].
//
// Mappings are merged key by key, all the way down; a list, a text or a number
// takes the place of what was there, and ~ takes the key away. Under vars, ~ is
// a value as ever. The methods of an exchange count as one key, and a text that
// stands for a mapping (a URL for an exchange or a call) as that mapping. A file
// that extends another cannot be extended itself.
//
// Every error is a [*yamlnode.Error] in the file that the text came from. The
// error of base stands where its name does.
func Extend(file string, src []byte, base func(name string) (file string, src []byte, err error)) (*Dialect, error) {
	own, err := yamlnode.Parse(file, src)
	if err != nil {
		return nil, err
	}
	name, ok := own.Get("extend")
	if !ok {
		return parseRoot(own)
	}
	if err := name.Want("extend", yamlnode.Text); err != nil {
		return nil, err
	}
	if err := ownName(own, name); err != nil {
		return nil, err
	}
	file, src, err = base(name.Text)
	if err != nil {
		return nil, name.Errorf("%v", err)
	}
	root, err := yamlnode.Parse(file, src)
	if err != nil {
		return nil, err
	}
	if err := root.Want("a dialect file", yamlnode.Map); err != nil {
		return nil, err
	}
	if further, ok := root.Get("extend"); ok {
		return nil, name.Errorf("%s extends %s itself, and that is as deep as it goes; extend %s and write the changes of both here",
			yamlnode.Quote(name.Text), yamlnode.Quote(further.Text), yamlnode.Quote(further.Text))
	}
	own.Pairs = slices.DeleteFunc(slices.Clone(own.Pairs), func(p yamlnode.Pair) bool { return p.Key.Text == "extend" })
	if root, err = overlay(root, own, ""); err != nil {
		return nil, err
	}
	return parseRoot(root)
}

// ownName refuses a file that would go by the name of what it extends.
func ownName(own, base yamlnode.Node) error {
	n, ok := own.Get("dialect")
	switch {
	case !ok:
		return own.Errorf("the key dialect is missing: it names what %s becomes here", yamlnode.Quote(base.Text))
	case n.Text == base.Text:
		return n.Errorf("a dialect that extends %s is to have a name of its own", yamlnode.Quote(base.Text))
	}
	return n.Want("dialect", yamlnode.Text)
}

// overlay returns the mapping base with the changes of own, which stands at path:
// the keys above it, with dots between them. What base has keeps its order, and
// everything keeps the place that it has in its file.
func overlay(base, own yamlnode.Node, path string) (yamlnode.Node, error) {
	merged := own
	merged.Pairs = slices.Clone(base.Pairs)
	for _, p := range own.Pairs {
		method := isExchange(path) && slices.Contains(methods, p.Key.Text)
		at := slices.IndexFunc(merged.Pairs, func(b yamlnode.Pair) bool {
			if b.Key.Text == p.Key.Text {
				return true
			}
			_, both := own.Get(b.Key.Text) // then the exchange has two methods, which the parser tells
			return method && slices.Contains(methods, b.Key.Text) && !both
		})
		switch removes := p.Value.Kind == yamlnode.Null && path != "vars" && !method; {
		case removes && at < 0:
			return own, p.Key.Errorf("there is no %s to take away%s", yamlnode.Quote(p.Key.Text), yamlnode.Suggest(p.Key.Text, keysOf(base)))
		case removes:
			merged.Pairs = slices.Delete(merged.Pairs, at, at+1)
		case at < 0:
			merged.Pairs = append(merged.Pairs, p)
		default:
			before := merged.Pairs[at].Value
			if path == "" {
				before = spellOut(p.Key.Text, before)
			}
			if p.Value.Kind == yamlnode.Map && before.Kind == yamlnode.Map {
				var err error
				if p.Value, err = overlay(before, p.Value, strings.TrimPrefix(path+"."+p.Key.Text, ".")); err != nil {
					return own, err
				}
			}
			merged.Pairs[at] = p
		}
	}
	return merged, nil
}

// isExchange reports whether an exchange stands at a path.
func isExchange(path string) bool {
	return slices.Contains([]string{"token", "refresh", "verify", "introspect", "revoke"}, path)
}

// spellOut returns the mapping that a text under a top key stands for.
func spellOut(key string, n yamlnode.Node) yamlnode.Node {
	name := n
	switch {
	case n.Kind != yamlnode.Text || key == "refresh" && n.Text == "none":
		return n
	case isExchange(key):
		name.Text = "POST"
	case key == "call":
		name.Text = "base"
	default:
		return n
	}
	all := n
	all.Kind, all.Text, all.Pairs = yamlnode.Map, "", []yamlnode.Pair{{Key: name, Value: n}}
	return all
}

// keysOf lists the keys of a mapping.
func keysOf(n yamlnode.Node) (list []string) {
	for _, p := range n.Pairs {
		list = append(list, p.Key.Text)
	}
	return list
}
