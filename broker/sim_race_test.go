//go:build race

package broker

// raced says that these tests were built with the race detector.
const raced = true
