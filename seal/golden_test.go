package seal

// What the first release wrote.
const (
	goldenKey   = "jeton-seal-kyTOFmsdHciBdPj_iEpSDUWrL3EQ1M6tz6sBBdJV3V3Zm8q8"
	goldenID    = "91de7c7744eac88b"
	goldenValue = "AZHefHdE6siL+HbzD9HS0D8VEaf+cHJPRzEau1zn14mAT5Z+BUkCk58IKiyWocN/p/EujlPH"
)
