package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"

	"github.com/spf13/cobra"
)

// schemas are the files that editors know.
var schemas = []struct {
	name, short string
	schema      func() *schema
}{
	{"config", "Print the JSON Schema of the configuration file", configSchema},
	{"dialect", "Print the JSON Schema of dialect files", dialectSchema},
}

// schemaURL is where the newest schema of a name stands.
func schemaURL(name string) string {
	return "https://raw.githubusercontent.com/jetonhq/jeton/main/schema/" + name + ".json"
}

func (a *app) schemaCommand() *cobra.Command {
	all := &cobra.Command{
		Use:   "schema",
		Short: "Print JSON Schemas, with which editors complete, explain and check files",
	}
	var commands []*cobra.Command
	for _, s := range schemas {
		var file string
		c := &cobra.Command{
			Use:   s.name,
			Short: s.short,
			Long: s.short + `. An editor with
yaml-language-server then completes keys, shows what each is for and underlines
mistakes. The first line of a file says which schema it follows, as a path from the
file or a URL:

  # yaml-language-server: $schema=` + s.name + `.json
  # yaml-language-server: $schema=` + schemaURL(s.name),
			Args: cobra.NoArgs,
			RunE: func(*cobra.Command, []string) error { return a.writeSchema(s.schema(), file) },
		}
		c.Flags().StringVarP(&file, "output", "o", "", "`file` to write instead of standard output")
		commands = append(commands, c)
	}
	return group(all, commands...)
}

func (a *app) writeSchema(s *schema, file string) error {
	text, err := s.text()
	if err != nil {
		return err
	}
	if file == "" {
		_, err = a.out.Write(text)
		return err
	}
	if err := os.WriteFile(file, text, 0o644); err != nil {
		return fmt.Errorf("write %s: %w", file, reason(err))
	}
	return nil
}

// text returns the schema as a file.
func (s *schema) text() ([]byte, error) {
	compact, err := plainJSON(s)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := json.Indent(&b, compact, "", "  "); err != nil {
		return nil, err
	}
	b.WriteByte('\n')
	return b.Bytes(), nil
}
