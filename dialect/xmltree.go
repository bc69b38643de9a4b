package dialect

import (
	"errors"
	"fmt"
	"strings"

	"github.com/jetonhq/jeton/dialect/sign"
	"github.com/jetonhq/jeton/yamlnode"
)

// An XML document is a tree whose root is one element: keys are elements in
// their order, "@name" is an attribute, "#text" the text beside attributes, and a
// list repeats its element.

func parseXMLTree(n yamlnode.Node, what string) (*tree, error) {
	if err := n.Want(what, yamlnode.Map); err != nil {
		return nil, err
	}
	t, err := compileTree(n)
	if err != nil {
		return nil, err
	}
	if len(t.keys) != 1 || strings.HasPrefix(t.keys[0], "@") || t.keys[0] == "#text" {
		return nil, n.Errorf("an XML document has one element at its root")
	}
	return t, nil
}

// fillXML returns the document with its declaration.
func (t *tree) fillXML(e *env, optional func(string) bool) ([]byte, error) {
	root := xmlElem{name: t.keys[0]}
	if err := t.kids[0].element(&root, e, optional); err != nil {
		return nil, err
	}
	return root.append([]byte(`<?xml version="1.0" encoding="UTF-8"?>`))
}

// element fills the element that the tree is the content of.
func (t *tree) element(into *xmlElem, e *env, optional func(string) bool) error {
	switch t.kind {
	case treeLiteral:
		if t.raw != "null" {
			into.text = t.raw
		}
		return nil
	case treeText:
		text, err := t.value.fill(e)
		if !sign.XMLText(text) {
			return fmt.Errorf("$%s holds a character that XML cannot carry", strings.Join(t.value.needs(), ", $"))
		}
		into.text = text
		return err
	case treeList:
		return fmt.Errorf("a list stands for an element that is repeated")
	}
	for i, key := range t.keys {
		kids := []*tree{t.kids[i]}
		if t.kids[i].kind == treeList {
			kids = t.kids[i].kids
		}
		for _, kid := range kids {
			child := xmlElem{name: key}
			err := kid.element(&child, e, optional)
			if _, missing := errors.AsType[missingError](err); missing && kid.leftOut(optional) && kid.value.unset(e) {
				continue
			}
			switch {
			case err != nil:
				return err
			case strings.HasPrefix(key, "@"):
				into.attrs = append(into.attrs, [2]string{key[1:], child.text})
			case key == "#text":
				into.text = child.text
			default:
				into.kids = append(into.kids, child)
			}
		}
	}
	return nil
}
