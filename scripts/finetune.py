from p5t5.cli.finetune import main

raise SystemExit(main())
