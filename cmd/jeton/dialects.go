package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/jetonhq/jeton/dialect"
	"github.com/jetonhq/jeton/dialects"
	"github.com/jetonhq/jeton/yamlnode"
)

// A dialectRef is a dialect as an account or a realm names it: by the name of
// one that ships or stands in the user's folder, or by the path of a file.
type dialectRef struct {
	text string
	*dialect.Dialect
	src string // all text of the user's that it is made of; empty: it ships
}

// A catalogue finds dialects by what refers to them. It is read once and does
// not change.
type catalogue struct {
	dir    string                   // the user's folder, from the working directory; empty: none
	path   func(text string) string // from the working directory
	own    map[string]ownFile       // :: name -> file in the folder
	bad    map[string]error         // :: name -> what is wrong with its file
	loaded map[string]dialectRef    // :: as written -> dialect; accounts share them
	stamps map[string]fileStamp     // :: file of the user's -> how it was before it was read
}

// A fileStamp tells that a file was changed.
type fileStamp struct {
	size    int64
	changed time.Time
}

// An ownFile is a dialect file in the user's folder.
type ownFile struct {
	file string
	src  []byte
}

// readCatalogue reads and checks every dialect in a folder; "" is none. With an
// error, which tells all that is wrong, comes what can be used all the same.
func readCatalogue(dir string, path func(string) string) (*catalogue, error) {
	c := &catalogue{dir: dir, path: path, own: map[string]ownFile{}, bad: map[string]error{}, loaded: map[string]dialectRef{}, stamps: map[string]fileStamp{}}
	files, err := dialectFiles(dir)
	if err != nil {
		return c, err
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".yaml")
		if c.own[name], err = c.read(file); err != nil {
			c.bad[name] = err
			delete(c.own, name)
		}
	}
	for name, f := range c.own {
		if ref, err := c.parse(name, f); err == nil {
			c.loaded[name] = ref
		} else {
			c.bad[name] = err
		}
	}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(c.bad)) {
		errs = append(errs, c.bad[name])
	}
	return c, errors.Join(errs...)
}

func (c *catalogue) read(file string) (ownFile, error) {
	c.stamps[file] = stampOf(file)
	src, err := os.ReadFile(file)
	if err != nil {
		err = fmt.Errorf("the dialect file %s cannot be read: %w", file, reason(err))
	}
	return ownFile{file, src}, err
}

// stampOf returns how a file is now; zero: it is not there.
func stampOf(file string) fileStamp {
	info, err := os.Stat(file) // what a link leads to
	if err != nil {
		return fileStamp{}
	}
	return fileStamp{info.Size(), info.ModTime()}
}

// look returns how the files that were read are now, and those that stand in
// the folder now.
func (c *catalogue) look() map[string]fileStamp {
	now := map[string]fileStamp{}
	for file := range c.stamps {
		if s := stampOf(file); s != (fileStamp{}) {
			now[file] = s
		}
	}
	files, err := dialectFiles(c.dir)
	if err != nil {
		now[c.dir] = fileStamp{} // that is a change, too
	}
	for _, file := range files {
		now[file] = stampOf(file)
	}
	return now
}

// dialectFiles lists the dialect files of a folder in alphabetical order.
func dialectFiles(dir string) (files []string, err error) {
	if dir == "" {
		return nil, nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("the folder of dialects %s cannot be read: %w", dir, reason(err))
	}
	for _, e := range entries {
		file := filepath.Join(dir, e.Name())
		switch {
		case strings.HasPrefix(e.Name(), "."): // of editors, and of mounted volumes
		case strings.HasSuffix(e.Name(), ".yml"):
			return nil, fmt.Errorf("%s: the name of a dialect file ends in .yaml", file)
		case strings.HasSuffix(e.Name(), ".yaml") && !isFolder(file):
			files = append(files, file)
		}
	}
	return files, nil
}

func isFolder(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().Type() == fs.ModeDir
}

// parse reads a dialect of the folder, which goes by the name of its file and
// never in place of one that ships.
func (c *catalogue) parse(name string, f ownFile) (dialectRef, error) {
	ref, err := c.extend(name, f)
	if err != nil {
		return ref, err
	}
	root, err := yamlnode.Parse(f.file, f.src)
	if err != nil {
		return ref, err
	}
	at, _ := root.Get("dialect")
	if slices.Contains(dialects.Names(), ref.Name) {
		return ref, at.Errorf("a dialect of the name %s ships with jeton, and this file does not replace it; write `extend: %s` and give both file and dialect another name", ref.Name, ref.Name)
	}
	if ref.Name != name {
		return ref, at.Errorf("the dialect %s stands in the file %s.yaml; give both one name", ref.Name, name)
	}
	return ref, nil
}

// extend reads a dialect file that may extend a dialect of the catalogue.
func (c *catalogue) extend(text string, f ownFile) (dialectRef, error) {
	ref := dialectRef{text: text, src: string(f.src)}
	d, err := dialect.Extend(f.file, f.src, func(name string) (string, []byte, error) {
		if base, ok := c.own[name]; ok {
			ref.src += "\n" + string(base.src)
			return base.file, base.src, nil
		}
		src, err := dialects.Source(name)
		if err != nil {
			err = c.unknown(name)
		}
		return name + ".yaml", src, err
	})
	ref.Dialect = d
	return ref, err
}

func (c *catalogue) unknown(name string) error {
	return fmt.Errorf("unknown dialect %s%s", yamlnode.Quote(name), yamlnode.Suggest(name, c.names()))
}

// names lists the dialects of the folder and those that ship.
func (c *catalogue) names() []string {
	return slices.Sorted(slices.Values(slices.Concat(dialects.Names(), slices.Collect(maps.Keys(c.own)))))
}

// load returns a dialect by name, or from a file if it looks like a path.
func (c *catalogue) load(text string) (ref dialectRef, err error) {
	if ref, ok := c.loaded[text]; ok {
		return ref, nil
	}
	switch {
	case c.bad[text] != nil:
		return ref, c.bad[text]
	case isPath(text):
		var f ownFile
		if f, err = c.read(c.path(text)); err == nil {
			ref, err = c.extend(text, f)
		}
	case !slices.Contains(dialects.Names(), text):
		return ref, c.unknown(text)
	default:
		ref.text = text
		ref.Dialect, err = dialects.Load(text)
	}
	if err == nil {
		c.loaded[text] = ref
	}
	return ref, err
}

// source returns the text of a dialect's file.
func (c *catalogue) source(text string) ([]byte, error) {
	if f, ok := c.own[text]; ok {
		return f.src, nil
	}
	if isPath(text) {
		return os.ReadFile(c.path(text))
	}
	return dialects.Source(text)
}

func isPath(text string) bool {
	return strings.ContainsRune(text, '/') || strings.HasSuffix(text, ".yaml") || strings.HasSuffix(text, ".yml")
}

// catalogue returns the dialects that there are for a command: those that ship
// and, if there is a configuration, those of its folder. The rest of the
// configuration need not be good. An error says what is wrong with dialects of
// the folder; the others can be used.
func (a *app) catalogue(named bool) (*catalogue, error) {
	if !named && !fileExists(a.configFile) {
		return readCatalogue("", asWritten)
	}
	src, err := os.ReadFile(a.configFile)
	if err != nil {
		return nil, fmt.Errorf("the configuration file %s cannot be read: %w", a.configFile, reason(err))
	}
	root, err := readConfig(a.configFile, src)
	if err != nil {
		return nil, err
	}
	dir := ""
	if v, ok := root.Get("dialects"); ok {
		if err := v.Want("dialects", yamlnode.Text); err != nil {
			return nil, err
		}
		dir = (&parser{dir: filepath.Dir(a.configFile)}).path(v.Text)
	}
	return readCatalogue(dir, asWritten)
}

func asWritten(path string) string { return path }
