// Package dialects holds the dialect files that ship with the system, one for
// each vendor. To add one, see README.md in this folder.
package dialects

import (
	"embed"
	"fmt"
	"strings"

	"github.com/jetonhq/jeton/dialect"
	"github.com/jetonhq/jeton/yamlnode"
)

//go:embed *.yaml
var files embed.FS

// Names returns the names of the dialects in alphabetical order.
func Names() []string {
	entries, err := files.ReadDir(".")
	if err != nil {
		panic(err) // the folder is part of the binary
	}
	var names []string
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), ".yaml"))
	}
	return names
}

// Source returns the text of a dialect's file. The error names the nearest
// dialect there is.
func Source(name string) ([]byte, error) {
	src, err := files.ReadFile(name + ".yaml")
	if err != nil {
		return nil, fmt.Errorf("dialects: unknown dialect %s%s", yamlnode.Quote(name), yamlnode.Suggest(name, Names()))
	}
	return src, nil
}

// Load parses a dialect. The error is that of [Source] for an unknown name.
func Load(name string) (*dialect.Dialect, error) {
	src, err := Source(name)
	if err != nil {
		return nil, err
	}
	return dialect.Parse(name+".yaml", src)
}
