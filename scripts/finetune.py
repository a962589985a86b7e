from p5t5.commands.finetune import main

raise SystemExit(main())
