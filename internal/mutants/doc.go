// Package mutants breaks one rule of the product at a time and checks that a test
// notices. It contains no other code.
package mutants
