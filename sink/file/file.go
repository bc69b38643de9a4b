// Package file copies a token to a file, for programs that read one.
package file

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/sink"
)

// Sink is a [sink.Sink] that is a file of mode 0600.
type Sink struct {
	Path   string
	Format sink.Format
}

// Put implements [sink.Sink].
func (s *Sink) Put(_ context.Context, t *jeton.Token) error {
	return Write(s.Path, s.Format.Text(t))
}

// Write replaces the file at path in one step: whoever reads it, also after a
// crash, finds the old text or the new one, and no other user finds either. The
// folder has to be there. What a process left behind that was killed meanwhile is
// removed by a Write that comes more than a minute later.
func Write(path, text string) (err error) {
	removeLeft(path)
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // 0600
	if err != nil {
		return fmt.Errorf("file: write the token to %s: %w", path, reason(err))
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
			err = fmt.Errorf("file: write the token to %s: %w", path, reason(err))
		}
	}()
	if _, err = f.WriteString(text); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// removeLeft removes what earlier calls left, and leaves what another process may
// be writing. What cannot be removed stays: the new token is what matters.
func removeLeft(path string) {
	list, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return
	}
	for _, entry := range list {
		number, ours := strings.CutPrefix(entry.Name(), "."+filepath.Base(path)+"-")
		if _, err := strconv.ParseUint(number, 10, 64); !ours || err != nil { // see os.CreateTemp
			continue
		}
		if info, err := entry.Info(); err == nil && info.Mode() == 0o600 && time.Since(info.ModTime()) > time.Minute {
			_ = os.Remove(filepath.Join(filepath.Dir(path), entry.Name()))
		}
	}
}

// reason returns what stands behind the path in a file error: the path is that
// of a file which nobody knows.
func reason(err error) error {
	if e, ok := errors.AsType[*os.PathError](err); ok {
		return e.Err
	}
	if e, ok := errors.AsType[*os.LinkError](err); ok {
		return e.Err
	}
	return err
}
