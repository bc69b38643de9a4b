package main

import (
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/jetonhq/jeton/broker"
	"github.com/jetonhq/jeton/sink"
	"github.com/jetonhq/jeton/sink/aws"
	"github.com/jetonhq/jeton/sink/file"
	"github.com/jetonhq/jeton/sink/gcp"
	sinkredis "github.com/jetonhq/jeton/sink/redis"
	sinkvault "github.com/jetonhq/jeton/sink/vault"
)

// redisAgain is how often Redis gets a token again: a cache that was emptied
// would be without one until the next.
const redisAgain = time.Minute

// newSinks makes what copies an account's token. Nothing is opened before there
// is a token.
func newSinks(list []sinkConfig, logger *slog.Logger) (copies []*sink.Copy) {
	for _, c := range list {
		one := &sink.Copy{Name: c.name(), Place: c.place()}
		switch c.kind {
		case "file":
			one.Sink = &file.Sink{Path: c.path, Format: c.format}
		case "redis":
			one.Sink, one.Again = &sinkredis.Sink{Address: c.server.address, Key: c.key, Format: c.format}, redisAgain
		case "vault":
			one.Sink = &sinkvault.Sink{Address: c.server.address}
		case "aws":
			one.Sink = &aws.Sink{Region: c.region, Secret: c.secret, Create: c.create, Format: c.format, Endpoint: c.endpoint,
				Credentials: aws.Environment{Getenv: os.Getenv, ReadFile: os.ReadFile, Region: c.region}.Credentials()}
		case "gcp":
			one.Sink = &gcp.Sink{Project: c.project, Secret: c.secret, Create: c.create, Keep: c.keep, Format: c.format, Endpoint: c.endpoint, Logger: logger}
		}
		copies = append(copies, one)
	}
	return copies
}

// sinkNotes says which sinks of an account lack its token.
func sinkNotes(s broker.Status) (notes []string) {
	for _, c := range s.Sinks {
		if c.Behind == 0 {
			continue
		}
		note := fmt.Sprintf("%s is %d behind for %s", c.Name, c.Behind, durationText(time.Duration(c.LagSeconds)*time.Second))
		if c.LastError != "" {
			note += ": " + c.LastError
		}
		notes = append(notes, note)
	}
	return notes
}
