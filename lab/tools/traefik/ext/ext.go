// Package ext stands in for a nested module that no proxy serves.
package ext

type HTTP struct{}

type Router struct{}
