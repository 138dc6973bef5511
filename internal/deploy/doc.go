// Package deploy puts the serverless service into an AWS account, shows it, and takes it away: one CloudFormation stack per stage, changed through
// change sets, and one bucket that holds the functions' zip.
//
// The template is made by this package alone, and what it grants each function is in policies.go. The package asks nobody anything, prints nothing, and
// changes nothing outside the stack and its bucket: what happens is told through [Progress].
package deploy
