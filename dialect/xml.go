package dialect

import "errors"

type xmlElem struct {
	name  string
	attrs [][2]string
	text  string
	kids  []xmlElem
}

func (e xmlElem) append(b []byte) []byte { return b }

func parseXML([]byte) (any, error) { return nil, errors.New("XML is not read yet") }
